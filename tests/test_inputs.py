"""Inputs of a wrong kind are recognised before any work."""

import dataclasses
import re
from pathlib import Path

import pytest

from fgsn.cli import COMMANDS, parse
from fgsn.config.base import OUTPUTS
from fgsn.errors import FgsnError
from fgsn.files import write_yaml
from fgsn.inputs import SIGNS, SUITABLE, kinds, require_inputs, require_outputs


@pytest.fixture
def things(tmp_path):
    """A folder of every kind."""
    for name, sign in (("map", "cameras.txt"), ("labels", "made_from.json"), ("run", "model.safetensors")):
        (tmp_path / name).mkdir()
        (tmp_path / name / sign).touch()
    (tmp_path / "data" / "correspondence_data").mkdir(parents=True)
    (tmp_path / "data" / "sparse").mkdir()
    (tmp_path / "data" / "sparse" / "cameras.bin").touch()
    (tmp_path / "list.txt").write_text("a.jpg PINHOLE 4 4 2 2 2 2\n")
    (tmp_path / "photo.jpg").touch()
    return tmp_path


def told(things, command, *arguments):
    """What `require_inputs` says of arguments in which `@name` is one of the things."""
    settings, _ = parse(command, [re.sub(r"^@", f"{things}/", word) for word in arguments])
    try:
        require_inputs(settings)
    except FgsnError as error:
        return str(error).replace(f"{things}/", "@")
    return ""


TRAIN = ("train", "--out", "o", "--data")
LOCALIZE = ("localize", "--method", "p3p", "--out", "o", "--images", "@data", "--queries")


def localizing(things):
    """Settings of fgsn localize with a map and a list that are there."""
    words = *LOCALIZE[1:], "@list.txt", "--map", "@map"
    return parse("localize", [word.replace("@", f"{things}/") for word in words])[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*TRAIN, "@data", "--init", "@run"), ""),
        ((*TRAIN, "@run", "--init", "@data"), "@run is a run folder; --data: "),
        ((*TRAIN, "@data", "--init", "@data"), "@data is a data set; --init: "),
        ((*TRAIN, "@data", "--init", "@photo.jpg"), "@photo.jpg is an image; --init: "),
        ((*TRAIN, "world:labels", "--init", "@run"), "world:labels does not exist; --data: "),
        ((*LOCALIZE, "@list.txt", "--map", "@map"), ""),
        ((*LOCALIZE, "@map", "--map", "@map"), "@map is a COLMAP model; --queries: "),
        ((*LOCALIZE, "@list.txt", "--map", "@data"), r"@data is a data set (did you mean @data/sparse?); --map: "),
        (("report", "@data"), "@data is a data set; RUN: "),
        (("start", "@labels", "--reference", "a", "--out", "o"), "@labels is a folder of label maps; PHOTOS: "),
    ],
)
def test_inputs_of_a_wrong_kind(things, arguments, expected):
    found = told(things, *arguments)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_a_folder_may_be_several_things(things):
    (things / "data" / "made_from.json").touch()  # fgsn segment --out of the data set itself
    assert kinds(things / "data") == ["a data set", "a folder of label maps"]
    assert not told(things, *TRAIN, "@data", "--init", "@run")


def test_that_a_file_made_with_other_settings_is_replaced_is_told(things, capsys):
    settings = dataclasses.replace(localizing(things), out=things / "poses.txt")
    write_yaml(things / "poses.config.yaml", settings.as_dict() | {"keypoints": 512})
    require_outputs(settings, file=True)
    assert capsys.readouterr().err == ""  # there is nothing yet
    settings.out.touch()
    require_outputs(settings, file=True)
    assert capsys.readouterr().err == f"{settings.out}, made with --keypoints 512, will be replaced\n"
    write_yaml(things / "poses.config.yaml", settings.as_dict())
    require_outputs(settings, file=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["images.txt", "cameras.txt"])
def test_no_file_of_the_map_that_is_read_is_replaced(things, name):
    settings = localizing(things)
    (things / "map" / name).touch()
    with pytest.raises(FgsnError, match="it would replace a file that is read"):
        require_outputs(dataclasses.replace(settings, out=things / "map" / name), file=True)
    require_outputs(dataclasses.replace(settings, out=things / "map" / "poses.txt"), file=True)


def test_outputs_that_have_a_default_are_checked(things):
    settings = localizing(things)
    (things / "work").touch()
    with pytest.raises(FgsnError, match=r"work is a file, not a folder"):
        require_outputs(dataclasses.replace(settings, out=things / "poses.txt"), file=True)
    page, _ = parse("report", [str(things / "run")])
    assert list(page.written()) == [("out", things / "run" / "report.html")]
    (things / "run" / "report.html").mkdir()
    with pytest.raises(FgsnError, match="it is a folder; name a file in it"):
        require_outputs(page, file=True)


@pytest.mark.parametrize("name", ["data/corr_val.txt", "photo.jpg", "run/model.safetensors", "run/results.json"])
def test_files_of_others_are_not_replaced(things, name):
    (things / name).touch()
    page, _ = parse("report", [f"{things}/run", "--out", f"{things}/{name}"])
    for settings in (page, dataclasses.replace(localizing(things), out=things / name)):
        with pytest.raises(FgsnError, match="there is a file that this command did not write; choose another --out"):
            require_outputs(settings, file=True)
    (things / "report.html").touch()
    require_outputs(dataclasses.replace(page, out=things / "report.html"), file=True)


def test_pictures_of_a_check_land_in_a_folder_of_their_own(things):
    settings, _ = parse("check", [f"{things}/data", "--pictures", f"{things}/pictures"])
    for name in ("coverage.png", "suspect_00.png", "random_06.png", "photo.jpg"):
        require_outputs(settings, file=False)
        (things / "pictures" / name).parent.mkdir(exist_ok=True)
        (things / "pictures" / name).touch()
    with pytest.raises(FgsnError, match=r"pictures: it contains photo\.jpg, so it is not a folder of such pictures"):
        require_outputs(settings, file=False)


def test_what_is_given_twice_is_told(things):
    assert told(things, *TRAIN, "@data", "@data", "--init", "@run").startswith(
        "@data is given twice; keep one; --data: "
    )
    assert told(things, *LOCALIZE, "@list.txt", "@map/../list.txt", "--map", "@map").endswith("one list per condition")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate", "--model", "@run", "--data", "@data", "--out", "@run"),
            "@run: it is a run folder that is read, ",
        ),
        (
            ("evaluate", "--model", "@run", "--data", "@data", "--out", "@data"),
            "@data: it is a data set that is read, ",
        ),
        (("stationary", "--model", "@run", "--data", "@data", "--out", "@run"), "it is a run folder that is read"),
        (("export", "@run", "--out", "@run"), "@run: it is a run folder that is read"),
        (("segment", "--model", "@run", "--images", "@data", "--out", "@data/x/y"), "@data/x/y: it lies in @data, "),
        (("correspond", "--images", "@map", "--reference", "a", "--out", "@map"), "@map: it lies in @map, "),
        (("start", "@map", "--reference", "a", "--out", "@map/out"), "would be taken for images"),
        (("evaluate", "--model", "@run", "--data", "@data", "--out", "@run/evaluate"), ""),
        (("segment", "--model", "@run", "--images", "@data", "--out", "@labels"), ""),
    ],
)
def test_outputs_do_not_land_in_inputs(things, arguments, message):
    command, *words = (re.sub(r"^@", f"{things}/", word) for word in arguments)
    settings, _ = parse(command, words)
    if not message:
        return require_outputs(settings, file=False)
    with pytest.raises(FgsnError, match=re.escape(message.replace("@", f"{things}/"))):
        require_outputs(settings, file=False)
    return None


def test_the_tables_name_settings_and_kinds():
    names = {field.name for command in COMMANDS.values() for field in dataclasses.fields(command.settings)}
    assert SUITABLE.keys() <= names - set(OUTPUTS)
    assert kinds(Path("none.xyz")) == []
    assert {kind for kinds in SUITABLE.values() for kind in kinds if "fold" in kind or "set" in kind} <= SIGNS.keys()
