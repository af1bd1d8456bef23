"""The command line: quick help, one line when something is wrong, exit codes, JSON."""

import dataclasses
import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fgsn import cli, config
from fgsn.cli import COMMANDS, Command, main, parse
from fgsn.config.base import FOLDERS
from fgsn.errors import FgsnError, UsageError
from fgsn.texts import field_help


def called(*arguments):
    """The exit code of a command in this process."""
    with pytest.raises(SystemExit) as done:
        main([str(part) for part in arguments])
    return done.value.code


@pytest.fixture(autouse=True)
def signals():
    """The command line sets a handler for SIGTERM; put the old one back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def command(monkeypatch):
    """Let `fgsn info` call another function."""

    def replaced(function):
        monkeypatch.setattr(cli, "_probe", function, raising=False)
        monkeypatch.setitem(COMMANDS, "info", Command(config.InfoSettings, "fgsn.cli:_probe"))

    return replaced


def process(*arguments, **named):
    code = "from fgsn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **named)


def test_every_command_is_there_and_has_one_line_of_help(capsys):
    assert called("--help") == 0
    overview = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in overview
        assert command.settings.__doc__.strip().splitlines()[0] in overview
    assert called() == 2


@pytest.mark.parametrize("name", [*COMMANDS])
def test_the_help_of_every_command_names_its_flags(capsys, name):
    assert called(name, "--help") == 0
    text = capsys.readouterr().out
    for flag in ("--seed", "--device", "--config", "--json", "--debug"):
        assert flag in text


@pytest.mark.parametrize("name", [*COMMANDS])
def test_the_help_of_a_command_says_everything_once(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "1000")
    assert called(name, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    settings = COMMANDS[name].settings
    for paragraph in settings.__doc__.split("\n\n"):
        assert text.count(" ".join(paragraph.split())) == 1
    for sentence in (*field_help(settings).values(), *field_help(cli.Output).values()):
        assert text.count(f" {sentence}") == 1, sentence


def test_a_value_without_a_flag_is_shown_with_its_name(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    assert called("prepare", "--help") == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage == "usage: fgsn prepare [-h] [OPTIONS] DATASET"
    (line,) = [line for line in lines if re.match(r"\W*DATASET ", line)]
    assert "The data set: a folder with images/ and correspondence_data/. (required)" in line


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\ntry:\n    from fgsn.cli import main; main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'h5py', 'PIL', 'trimesh'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stderr == "[]\n"
        # The processor's time: a machine may have other things to do.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_an_unknown_command_names_the_nearest(capsys):
    assert called("trian") == 2
    assert capsys.readouterr().err == "fgsn: unknown command 'trian'; did you mean 'train'?\n"


def test_an_unknown_flag_names_the_nearest(capsys):
    assert called("train", "--clutsers", "3", "--data", "a", "--init", "b", "--out", "c") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--clutsers" in err
    assert "--clusters" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "--data", "a", "--init", "b", "--out", "c", "--clusters", "many"],
        ["train", "--data", "a", "--init", "b", "--out", "c", "--gradient", "neither"],
        ["info"],
        ["info", "a", "b"],
        ["check", "--config"],
    ],
)
def test_wrong_usage_is_2_and_prints_nothing_on_stdout(capsys, arguments):
    assert called(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_a_value_out_of_range_is_2_and_one_line(capsys):
    assert called("train", "--data", "a", "--init", "b", "--out", "c", "--clusters", "1") == 2
    assert capsys.readouterr().err == "fgsn: --clusters must be at least 2, not 1\n"


def test_a_failure_is_1_and_one_line(capsys, tmp_path):
    assert called("info", tmp_path / "none.safetensors") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"fgsn: {tmp_path}/none.safetensors does not exist; MODEL: Model file or run folder\n"


WRONG = {
    "start": ["{}", "--reference", "sun", "--out", "o"],
    "correspond": ["--images", "{}", "--reference", "sun", "--out", "o"],
    "prepare": ["{}"],
    "check": ["{}"],
    "convert-vistas": ["{}"],
    "pretrain": ["--data", "camvid:{}", "--out", "o"],
    "import": ["{}.pth", "--out", "o.safetensors"],
    "train": ["--data", "..", "{}", "--init", "world:tiny", "--out", "o"],
    "segment": ["--model", "world:tiny", "--images", "{}", "--out", "o"],
    "stationary": ["--model", "hf://owner/name", "--data", "{}", "--out", "o"],
    "evaluate": ["--model", ".", "--data", ".", "--out", "o", "--baseline", "{}"],
    "retrieve": ["--map", ".", "--queries", "{}", "--images", ".", "--model", ".", "--out", "o"],
    "augment": ["--features", "{}", "--images", ".", "--model", ".", "--out", "o"],
    "localize": ["--map", ".", "--queries", ".", "--images", ".", "--map-labels", "{}",
                 "--method", "p3p", "--out", "o"],
    "track": ["--map", ".", "--queries", ".", "--query-labels", ".", "--odometry", ".", "--start", "{}",
              "--data", ".", "--data-labels", ".", "--out", "o"],
    "score-poses": [".", "--truth", "{}"],
    "report": ["{}"],
    "sweep": ["{}", "--out", "o"],
    "export": ["{}", "--out", "o"],
    "info": ["{}"],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"demo", "world", "bench"}))
def test_a_path_that_does_not_exist_is_reported_before_anything_is_imported(capsys, monkeypatch, tmp_path, name):
    settings = COMMANDS[name].settings
    monkeypatch.setitem(COMMANDS, name, Command(settings, "a_module_that_is_not_there:run", shared=True))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = [f"../{word}" if word.startswith("o") else word for word in WRONG[name]]
    assert called(name, *(word.replace("{}", f"{tmp_path}/none") for word in words)) == 1
    err = capsys.readouterr().err
    assert re.match(rf"fgsn: {tmp_path}/none(\.pth)? does not exist; (--[a-z-]+|[A-Z]+): \w", err)
    assert err.count("\n") == 1
    # Everything is left to the command if the path exists.
    (tmp_path / "none.pth").touch()
    assert called(name, *(word.replace("{}.pth", "../none.pth").replace("{}", ".") for word in words)) == 1
    assert "ModuleNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["start", "prepare", "convert-vistas", "pretrain", "localize", "report"])
def test_a_file_in_place_of_a_folder_is_reported_before_anything_is_imported(capsys, monkeypatch, tmp_path, name):
    monkeypatch.setitem(COMMANDS, name, Command(COMMANDS[name].settings, "a_module_that_is_not_there:run"))
    file = tmp_path / "file"
    file.touch()
    assert called(name, *(argument.replace("{}", str(file)) for argument in WRONG[name])) == 1
    assert re.match(rf"fgsn: {file} is not a folder; (--[a-z-]+|[A-Z]+): \w", capsys.readouterr().err)


def test_inputs_that_are_folders_are_settings():
    names = {field.name for command in COMMANDS.values() for field in dataclasses.fields(command.settings)}
    assert set(FOLDERS) <= names


def test_debug_shows_where(tmp_path):
    with pytest.raises(FgsnError):
        main(["info", str(tmp_path / "none.safetensors"), "--debug"])


def test_json_is_all_there_is_on_stdout(capsys, make_model, tmp_path):
    make_model().save(tmp_path / "model.safetensors")
    assert called("info", tmp_path / "model.safetensors", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == 5
    assert called("info", tmp_path / "model.safetensors") == 0
    out = capsys.readouterr().out
    assert "fine-grained" not in out
    assert "class 0" in out


def test_json_of_a_command_with_progress(capsys, make_model, make_image, tmp_path):
    make_model().save(tmp_path / "model.safetensors")
    make_image(tmp_path / "images" / "a.png")
    flags = ["--model", tmp_path / "model.safetensors", "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert called("segment", *flags, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["segmented"] == 1
    assert "segment: 1/1" in err
    (tmp_path / "images" / "b.png").write_bytes(b"")
    assert called("segment", *flags, "--json") == 1  # something failed
    assert len(json.loads(capsys.readouterr().out)["failed"]) == 1


def test_an_internal_error_is_reported_as_such(capsys, command):
    def broken(settings):
        raise IndexError("list index out of range")

    command(broken)
    assert called("info", ".") == 1
    assert capsys.readouterr().err == (
        "fgsn: internal error, IndexError: list index out of range (please report it; --debug shows where)\n"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruptions(capsys, command, number, code):
    command(lambda settings: os.kill(os.getpid(), number) or time.sleep(5))
    assert called("info", ".") == code
    err = capsys.readouterr().err
    assert err == "fgsn: interrupted; finished work is saved: run the same command again to continue\n"
    assert err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_traceback(command):
    done = subprocess.run(
        f'{sys.executable} -c "from fgsn.cli import main; main()" --help | true',
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


TRAIN = ["--data", "a", "b", "--init", "m", "--out", "o"]
OLD = [(owner, *names) for owner, renamed in config.OLD_NAMES.items() for names in renamed.items()]


def test_flags_become_settings():
    settings, output = parse("train", [*TRAIN, "--clusters", "20", "--lr", "1e-3", "--resume", "--json"])
    assert settings == config.TrainSettings(
        data=(Path("a"), Path("b")), init=Path("m"), out=Path("o"), clusters=20, lr=0.001, resume=True
    )
    assert output == cli.Output(json=True)


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("data: [x, y]\nclusters: 50\nshort-side: 480\nlr: 1\ngradient: coin\n")
    for flag in (["--config", str(path)], [f"--config={path}"]):
        settings, _ = parse("train", ["--init", "m", "--out", "o", *flag, "--clusters", "20"])
        assert settings.clusters == 20
        assert settings.short_side == 480
        assert settings.lr == 1.0
        assert settings.gradient == "coin"
        assert settings.data == (Path("x"), Path("y"))
        assert settings.batch == config.TrainSettings(data=(Path("x"),), init=Path("m"), out=Path("o")).batch


def test_the_file_may_give_what_must_be_given(tmp_path):
    path = tmp_path / "info.yaml"
    path.write_text("model: m.safetensors\n")
    assert parse("info", ["--config", str(path)])[0].model == Path("m.safetensors")
    path.write_text("out: run\n")
    with pytest.raises(UsageError, match=rf"missing: --data, --init, here and in {path}; fgsn train --help"):
        parse("train", ["--config", str(path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clutsers: 3", "unknown key 'clutsers'; did you mean 'clusters'?"),
        ("clusters: many", "'clusters' should be a whole number, not 'many'"),
        ("clusters: 2.5", "'clusters' should be a whole number, not 2.5"),
        ("clusters: true", "'clusters' should be a whole number, not True"),
        ("resume: 1", "'resume' should be true or false, not 1"),
        ("gradient: neither", "'gradient' should be one of coin, both, not 'neither'"),
        ("init: 3", "'init' should be a path, not 3"),
        ("- clusters", "should contain a YAML mapping"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(capsys, tmp_path, text, message):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    assert called("train", *TRAIN, "--config", path) in (1, 2)
    err = capsys.readouterr().err
    assert f"{path}" in err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("owner", "old", "new"), OLD)
def test_an_old_flag_works_and_is_reported(capsys, owner, old, new):
    (name,) = [name for name, command in COMMANDS.items() if command.settings.__name__ == owner]
    flags = {"segment": "--model m --images i --out o", "localize": "--map m --queries q --out o --hloc h --method p3p"}
    value = {"tiling": "published", "similarity": 0.5, "label_window": 0.25}[new]
    before, after = ("--" + word.replace("_", "-") for word in (old, new))
    for words in ([before, str(value)], [f"{before}={value}"]):
        assert getattr(parse(name, [*flags[name].split(), *words])[0], new) == value
        notice = f"{before} is now {after}; the old name will go in the next version\n"
        assert capsys.readouterr().err == notice
    parse(name, [*flags[name].split(), after, str(value)])
    assert capsys.readouterr().err == ""


def test_kinds_to_save_are_a_list_and_may_still_be_parted_by_commas(capsys):
    flags = ["--model", "m", "--images", "i", "--out", "o"]
    for words in ("--save labels overlay", "--save labels,overlay", "--save=labels,overlay"):
        assert parse("segment", [*words.split(), *flags])[0].save == ("labels", "overlay")
        notice = "--save labels,overlay is now --save labels overlay; the old form will go in the next version\n"
        assert capsys.readouterr().err == notice * ("," in words)
    assert called("segment", *flags, "--save", "depth") == 2
    assert called("segment", *flags, "--save", "labels,depth") == 2


def test_a_missing_file_is_reported(capsys, tmp_path):
    assert called("train", *TRAIN, "--config", tmp_path / "none.yaml") == 1
    assert capsys.readouterr().err == f"fgsn: {tmp_path}/none.yaml does not exist\n"


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_a_number_in_a_file_may_be_written_as_people_do(tmp_path, text):
    """YAML 1.1 takes 1e-4 for a text."""
    path = tmp_path / "train.yaml"
    path.write_text(f"lr: {text}\n")
    assert parse("train", [*TRAIN, "--config", str(path)])[0].lr == 0.0001


def test_a_written_configuration_gives_the_same_settings_again(tmp_path):
    settings, _ = parse("train", [*TRAIN, "--clusters", "20", "--lr", "3e-5", "--weight-decay", "0"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings.as_dict()))
    assert parse("train", ["--config", str(path)])[0] == settings


def test_unknown_command_raises_in_python():
    with pytest.raises(UsageError, match="did you mean 'segment'"):
        cli._run(["segmnet"])


def test_version():
    done = process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("fgsn ")


ESCAPES = """
import sys
from types import SimpleNamespace
from fgsn import cli, config
sys.modules["results"] = SimpleNamespace(run=lambda settings: {results})
cli.COMMANDS["info"] = cli.Command(config.InfoSettings, "results:run")
cli.main(["info", ".", *sys.argv[1:]])
"""


def shell(results, redirection="", encoding="utf-8", *flags):
    script = ESCAPES.replace("{results}", repr(results))
    line = f"{shlex.join([sys.executable, '-c', script, *flags])} {redirection}"
    return subprocess.run(
        line, shell=True, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": encoding}
    )


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_codes_in_a_file_do_not_reach_the_terminal(flags):
    bad = "\x1b]0;owned\x07\x1b[31m\x9b"
    results = {"kind": bad, bad: 1, "list": [bad], "table": {bad: {bad: bad}}, "flat": {bad: bad}}
    done = shell(results, "", "utf-8", *flags)
    assert done.returncode == 0
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout.decode())
    if flags:
        assert json.loads(done.stdout) == results


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_stdout_of_another_encoding(flags):
    done = shell({"dash": "a – b", "table": {"雪": {"x": None}}}, "", "latin-1", *flags)
    assert (done.returncode, done.stderr) == (0, b"")
    if flags:
        assert json.loads(done.stdout)["dash"] == "a – b"


def test_streams_that_are_closed_or_full():
    assert shell({"kind": "x"}, "2>&-").returncode == 0
    assert shell({"kind": "x"}, ">&-").returncode == 0
    done = shell({"kind": "x"}, "> /dev/full")
    assert (done.returncode, done.stderr) == (1, b"fgsn: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(1, "Operation not permitted", "a/b.txt"), "cannot use a/b.txt: Operation not permitted"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "not enough memory: use smaller images, windows or batches"),
    ],
)
def test_errors_of_the_system_are_one_line(capsys, command, error, says):
    def broken(settings):
        raise error

    command(broken)
    assert called("info", ".") == 1
    assert capsys.readouterr().err == f"fgsn: {says}\n"


def test_a_shell_can_complete_commands_and_flags(capsys):
    for shell in ("bash", "zsh"):
        with pytest.raises(SystemExit) as stop:
            main(["--print-completion", shell])
        assert stop.value.code == 0
        script = capsys.readouterr().out
        assert "score-poses" in script
        assert "--max-error" in script
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", "fish"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip() == "fgsn: --print-completion takes one of bash, zsh, tcsh"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])  # of the terminal, by which tyro draws its boxes
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--bogus", "1"], "fgsn: no option --bogus; fgsn train --help lists them"),
        (["check", "--data", "d"], "fgsn: no option --data; PATH has no option; fgsn check --help lists them"),
        (["export", "--model", "m", "--out", "o"], "fgsn: give MODEL without --model: fgsn export MODEL …"),
        (["train", "--clutsers=9"], "fgsn: no option --clutsers; did you mean --clusters? fgsn train --help"),
        (["train"], "fgsn: missing: --data, --init, --out; fgsn train --help explains every option"),
        (["start", "p", "--min", "3"], "fgsn: no option --min; did you mean --minutes? "),
        (["check"], "fgsn: missing: PATH; "),
        (["check", "a", "b"], "fgsn: too many values: b; "),
        (
            ["segment", "--model", "m", "--out", "o", "--images", "a.jpg", "b.jpg"],
            "fgsn: --images takes one value, a.jpg, but b.jpg follows it; --images: An image, a folder ",
        ),
        (["export", "m", "--out", "o", "--size", "512"], "fgsn: --size takes 2 values, not 1; "),
        (
            ["correspond", "--images", "i", "--reference", "r", "--out", "o", "--pairs", "similiar"],
            "fgsn: --pairs similiar: did you mean similar?",
        ),
        (["train", "--clusters"], "fgsn: --clusters takes a value; fgsn train --help "),
        (["world", "--size", "96"], "fgsn: --size takes 2 values; fgsn world --help "),
        (["start", "p", "--reference", "a", "--out", "o", "--minutes", "x"], "--minutes: not a number: 'x'; "),
        (["start", "p", "--reference", "a", "--out", "o", "--clusters", "x"], "--clusters: not a whole number: 'x'; "),
        (["prepare", "a", "--split", "x"], "fgsn: --split must be one of 'random', 'end', not 'x'; "),
        (  # whose order differs from process to process
            ["segment", "--model", "m", "--images", "i", "--out", "o", "--tiling", "alignd"],
            "', not 'alignd'; fgsn segment --help ",
        ),
    ],
)
def test_wrong_usage_is_one_line(capsys, monkeypatch, arguments, message, encoding):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert "None" not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "localize --map M --queries Q --images I --method p3p",
        "track --map M --queries Q --query-labels L --odometry Q --start S --data D --data-labels L",
        "retrieve --map M --queries Q --images I --model F",
        "augment --features F --images I --model F",
    ],
)
def test_a_folder_in_place_of_the_result_file_is_told_at_once(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("M", "I", "L", "D"):
        Path(folder).mkdir()
    for file in ("Q", "S", "F"):
        Path(file).touch()
    with pytest.raises(SystemExit) as stop:
        main([*arguments.split(), "--out", "D"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "fgsn: cannot write to D: it is a folder; name a file in it\n"


@pytest.mark.parametrize("out", ["F", "F/below"])
@pytest.mark.parametrize(
    "arguments",
    [
        "demo --quick",
        "world --places 2",
        "start I --reference a",
        "correspond --images I --reference a",
        "train --data I --init F",
        "segment --images I --model F",
        "export F --format map --map I --map-labels I",
    ],
)
def test_a_file_in_place_of_the_result_folder_is_told_at_once(arguments, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("I").mkdir()
    Path("F").touch()
    with pytest.raises(SystemExit) as stop:
        main([*arguments.split(), "--out", out])
    assert stop.value.code == 1
    assert re.fullmatch(rf"fgsn: cannot write to {out}: .*F is a file, not a folder\n", capsys.readouterr().err)
