"""fgsn start on tiny photographs whose correspondences are given: matching has its own tests."""

import shutil
from pathlib import Path

import pytest

import fgsn.start
from fgsn.cli import main
from fgsn.config import PrepareSettings, ReportSettings, SegmentSettings, StartSettings
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError
from fgsn.files import read_json


@pytest.fixture
def photos(tmp_path, make_dataset, monkeypatch):
    """A folder of photographs, and a `correspond` that knows them."""
    known = make_dataset(tmp_path / "known", places=6)

    def correspond(settings):
        if not settings.out.exists():
            shutil.copytree(known, settings.out)
        prepared = prepare(PrepareSettings(dataset=settings.out, split="end", validation_share=0.3))
        return {"doubts": [], "failed": [], **{key: prepared[key] for key in ("train_pairs", "validation_pairs")}}

    monkeypatch.setattr(fgsn.start, "correspond", correspond)
    for name, value in {"SHORT_SIDE": 0, "CROP": 65, "BATCH": 1, "FEWEST": 3, "MOST": 3}.items():
        monkeypatch.setattr(fgsn.start, name, value)
    return known / "images"


def test_one_command_leads_to_labels_and_a_page(photos, tmp_path, capsys):
    settings = StartSettings(photos=photos, reference="reference", out=tmp_path / "out", clusters=5, device="cpu")
    results = fgsn.start.start(settings)
    assert results["steps"] == 3
    assert results["pairs"] == 12
    assert any(doubt.startswith("no kappa_position_controlled: only") for doubt in results["doubts"])
    assert "start network" in Path(results["report"]).read_text(encoding="utf-8")
    assert Path(results["report"]).is_file()
    assert results == read_json(tmp_path / "out" / "results.json")
    assert {path.name for path in (tmp_path / "out" / "labels" / "labels").iterdir()} == {"reference", "snow", "night"}
    commands = [line for line in capsys.readouterr().err.splitlines() if line.startswith("$ ")]
    assert [line.split()[2] for line in commands] == ["correspond", "train", "segment", "report"]
    assert f"--init world:labels --out {tmp_path}/out/run --clusters 5 --iterations 3" in commands[1]
    # Again: what is there stays, also with another time.
    before = (tmp_path / "out" / "run" / "model.safetensors").read_bytes()
    again = fgsn.start.start(StartSettings(**{**vars(settings), "minutes": 99.0}))
    assert again == results
    assert (tmp_path / "out" / "run" / "model.safetensors").read_bytes() == before


def test_the_commands_are_those_of_the_command_line(tmp_path):
    line = fgsn.start.command_line
    settings = SegmentSettings(model=Path("run"), images=Path("my photos"), out=Path("l"), save=("labels", "overlay"))
    assert line("segment", settings) == "fgsn segment --model run --images 'my photos' --out l --save labels overlay"
    assert line("report", ReportSettings(run=Path("run"), seed=3)) == "fgsn report run --seed 3"


def test_the_time_decides_the_number_of_steps(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(fgsn.start, "MOST", 10_000)
    monkeypatch.setattr(fgsn.start, "seconds_per_step", lambda model: 0.5)
    assert fgsn.start._iterations(tmp_path, fgsn.start.load("world:labels"), 10) == round(600 * 0.65 / 0.5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--init", "world:none"], "world:none does not come with fgsn; there are world:tiny and world:labels"),
        (["--minutes", "0"], "--minutes must be above 0, not 0"),
        (["--matcher", "sfit"], "unknown matcher 'sfit'; did you mean 'sift'?"),
        (
            ["--reference", "spring"],
            "{photos} has no images of the reference condition 'spring'; "
            "its subfolders with images: night, reference, snow",
        ),
        (["--init", "nowhere"], "nowhere does not exist; --init: Model to start from; the default comes with fgsn"),
    ],
)
def test_wrong_inputs_end_before_any_work(photos, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        main(["start", str(photos), "--reference", "reference", "--out", str(tmp_path / "out"), *flags])
    assert stop.value.code in (1, 2)
    assert capsys.readouterr().err.strip() == f"fgsn: {message.format(photos=photos)}"
    assert not (tmp_path / "out").exists()


def test_the_output_is_not_among_the_photographs(photos, capsys):
    with pytest.raises(SystemExit):
        main(["start", str(photos), "--reference", "reference", "--out", str(photos / "snow")])
    told = f"fgsn: cannot write to {photos / 'snow'}: it lies in {photos}, where it would be taken for images"
    assert capsys.readouterr().err.startswith(told)


def test_too_few_pairs_are_not_trained_on(photos, tmp_path, monkeypatch):
    found = {"doubts": [], "train_pairs": 3, "validation_pairs": 0}
    monkeypatch.setattr(fgsn.start, "correspond", lambda settings: found)
    with pytest.raises(FgsnError, match=r"only 3 of the pairs of photographs in .* match"):
        fgsn.start.start(StartSettings(photos=photos, reference="reference", out=tmp_path / "out", device="cpu"))
    assert not (tmp_path / "out" / "run").exists()


def test_a_run_without_its_number_of_steps_is_refused(photos, tmp_path):
    run = tmp_path / "out" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("clusters: 5\n")
    with pytest.raises(FgsnError, match="does not state its iterations"):
        fgsn.start.start(StartSettings(photos=photos, reference="reference", out=tmp_path / "out", device="cpu"))
