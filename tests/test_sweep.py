"""Sweeps: the table contains the results of the single commands, finished runs stay, failures do not stop the rest."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fgsn import sweep as module
from fgsn.cli import main
from fgsn.config import EvaluateSettings, PrepareSettings, SweepSettings, TrainSettings, WorldSettings
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError, UsageError
from fgsn.evaluation.evaluate import evaluate
from fgsn.files import write_yaml
from fgsn.sweep import read_experiments, sweep
from fgsn.training import train as training
from fgsn.training.train import train
from fgsn.world import make_world

FAST = {
    "clusters": 4, "iterations": 4, "batch": 1, "crop": 65, "features_per_image": 24, "pca_dim": 8, "lr": 0.002,
    "rounds": 1, "scales": (0.7, 1.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def common(tmp_path_factory, make_dataset, make_model):
    """Settings of a short training on a small data set."""
    root = make_dataset(tmp_path_factory.mktemp("data") / "set")
    prepare(PrepareSettings(dataset=root, validation_share=0.25))
    start = tmp_path_factory.mktemp("start") / "start.safetensors"
    make_model().save(start)
    return {"data": str(root), "init": str(start), **FAST}


@pytest.fixture
def settings(tmp_path, common):
    """Settings of a sweep over a list with these sections."""

    def make(**sections):
        path = tmp_path / "list.yaml"
        path.write_text(yaml.safe_dump({"train": common, "evaluate": {"resamples": 0}} | sections, sort_keys=False))
        return SweepSettings(experiments=path, out=tmp_path / "out", device="cpu")

    return make


def stored(out):
    return json.loads((out / "results.json").read_text())["runs"]


def same_but_time(row):
    return {key: value for key, value in row.items() if "seconds" not in key and key != "resumed"}


def test_the_table_contains_the_results_of_the_single_commands(settings, common, tmp_path):
    grid = {"clusters": [3, 4], "corr_weight": {"without": 0, "with": 1}}
    results = sweep(settings(grid=grid, runs={"five": {"clusters": 5}}))
    names = ["clusters3-without", "clusters3-with", "clusters4-without", "clusters4-with", "five"]
    assert (list(results["runs"]), results["failed"]) == (names, [])
    data, hand = Path(common["data"]), tmp_path / "hand"
    chosen = FAST | {"clusters": 3, "corr_weight": 0.0}
    train(TrainSettings(data=(data,), init=Path(common["init"]), out=hand, device="cpu", **chosen))
    metrics = evaluate(EvaluateSettings(model=hand, data=data, out=tmp_path / "e", resamples=0, device="cpu"))
    out = tmp_path / "out"
    rows = stored(out)
    assert list(rows) == names
    row = rows["clusters3-without"]
    assert (row["clusters"], row["corr_weight"]) == (3, "without")
    assert {key: row[key] for key in module.METRICS} == {key: metrics[key] for key in module.METRICS}
    assert row["train_seconds"] > 0 < row["cpu_seconds"]
    assert results["runs"]["clusters3-without"] == {key: row[key] for key in module.SHORT}
    with (out / "results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [line["run"] for line in read] == names
    assert [float(line["kappa"]) for line in read] == [line["kappa"] for line in rows.values()]
    table = (out / "results.md").read_text().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2:]] == names


def test_finished_runs_stay_and_an_interrupted_one_goes_on_to_the_same_metrics(settings, tmp_path, monkeypatch):
    wanted = settings(grid={"clusters": [3, 4]}, train={**yaml.safe_load(settings().experiments.read_text())["train"]})
    sweep(replace(wanted, out=tmp_path / "whole"))
    real = training.train_step

    def stopped_in_the_second(*given):
        train_settings, step = given[-2:]
        if train_settings.clusters == 4 and step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(training, "train_step", stopped_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        sweep(wanted)
    steps = []
    monkeypatch.setattr(training, "train_step", lambda *given: (steps.append(given[-2].clusters), real(*given))[1])
    again = sweep(wanted)
    assert steps == [4, 4]  # the two steps that were left
    rows = stored(wanted.out)
    assert [row["resumed"] for row in rows.values()] == [False, True]
    for name, row in stored(tmp_path / "whole").items():
        assert same_but_time(row) == same_but_time(rows[name])
    steps.clear()
    assert sweep(wanted) == again
    assert steps == []


def test_a_run_that_fails_is_listed_and_the_rest_goes_on(settings, tmp_path, capsys):
    start = yaml.safe_load(settings().experiments.read_text())["train"]["init"]
    missing = tmp_path / "later.safetensors"
    wanted = settings(runs={"broken": {"init": str(missing)}, "huge": {"clusters": 5000}, "fine": {}})
    arguments = ["sweep", str(wanted.experiments), "--out", str(wanted.out), "--device", "cpu", "--json"]
    missing.write_bytes(b"damaged")
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert list(results["runs"]) == ["fine"]
    assert [line.partition(":")[0] for line in results["failed"]] == ["broken", "huge"]
    assert str(missing) in results["failed"][0]
    assert results["failed"][0] in (wanted.out / "results.md").read_text()
    # Mended, it runs; the list in its order.
    missing.write_bytes(Path(start).read_bytes())
    assert list(sweep(wanted)["runs"]) == ["broken", "fine"]


def test_wrong_paths_of_any_run_are_told_before_the_first(settings, tmp_path):
    for sections in ({"runs": {"fine": {}, "broken": {"init": str(tmp_path / "none.safetensors")}}},
                     {"runs": {"fine": {}}, "evaluate": {"data": str(tmp_path / "none")}}):  # fmt: skip
        with pytest.raises(FgsnError, match=r"none(\.safetensors)? does not exist; --(init|data): "):
            sweep(settings(**sections))
    with pytest.raises(UsageError, match="'runs' should have a name for each run, such as"):
        sweep(settings(runs=[{"clusters": 5}]))


def test_a_surprise_in_one_run_is_listed_too(settings, monkeypatch):
    def out_of_memory(train_settings):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, "train", out_of_memory)
    assert sweep(settings(runs={"big": {}}))["failed"] == ["big: RuntimeError: out of memory"]


def test_a_finished_run_with_other_settings_is_not_taken_for_this_one(settings):
    sweep(settings(runs={"one": {}}))
    results = sweep(settings(runs={"one": {"lr": 0.003, "corr_weight": 0.5}}))
    assert results["runs"] == {}
    assert "other settings (corr_weight, lr)" in results["failed"][0]


def test_seed_and_device_of_the_sweep_are_those_of_the_runs_unless_the_list_says_otherwise(settings):
    wanted = replace(settings(grid={"clusters": [3]}, runs={"other": {"seed": 7}}), seed=5)
    first, other = read_experiments(wanted)
    assert (first.train.seed, first.evaluate.seed, first.train.device) == (5, 5, "cpu")
    assert (other.train.seed, other.evaluate.seed) == (7, 5)
    assert str(first.evaluate.data) == str(first.train.data[0])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"grid": {"clutsers": [3]}}, "did you mean 'clusters'"),
        ({"grid": {"clusters": ["many"]}}, "'clusters' should be a whole number"),
        ({"grid": {"clusters": [1]}}, "--clusters must be at least 2"),
        ({"grid": {"clusters": 3}}, "grid 'clusters' should be a list"),
        ({"grid": {"clusters": []}}, "grid 'clusters' should be a list"),
        ({"grid": {"init": ["models/a.safetensors"]}}, "cannot be the name of a folder"),
        ({"grid": [3]}, "'grid' should be a mapping"),
        ({"gird": {}, "runs": {"a": {}}}, "did you mean 'grid'"),
        ({}, "contains no runs"),
        ({"runs": {"../a": {}}}, "cannot be the name of a folder"),
        ({"runs": {"a": 3}}, "run 'a' should be a mapping"),
        ({"runs": {"a": {"out": "x"}}}, "leave out 'out', which the sweep sets itself"),
        ({"runs": {"clusters3": {}}, "grid": {"clusters": [3]}}, "two runs of the same name: clusters3"),
        ({"runs": {"a": {}}, "evaluate": {"spilt": "all"}}, "did you mean 'split'"),
        ({"runs": {"a": {}}, "train": {"data": "x"}}, "missing 1 required keyword-only argument: 'init'"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_runs(settings, sections, message):
    wanted = settings(**sections)
    with pytest.raises(UsageError) as error:
        sweep(wanted)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not wanted.out.exists()


def test_results_of_a_run_that_lack_its_metrics_are_named(settings):
    wanted = settings(runs={"a": {}})
    (experiment,) = read_experiments(wanted)
    write_yaml(experiment.train.out / "config.yaml", experiment.train.as_dict())
    (experiment.folder / "results.json").write_text("{}")
    (line,) = sweep(wanted)["failed"]
    assert "a/results.json lacks kappa_position_controlled, " in line
    assert line.endswith("delete it to repeat this run")


def test_a_list_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(FgsnError, match=r"nothing\.yaml does not exist"):
        sweep(SweepSettings(experiments=tmp_path / "nothing.yaml", out=tmp_path))


@pytest.mark.slow
def test_a_small_sweep_on_the_synthetic_town_shows_what_l_corr_is_for(tmp_path, capsys):
    """Four runs through the command: the loss across seasons makes labels more stable, at both numbers of labels."""

    world = tmp_path / "world"
    make_world(WorldSettings(out=world, seed=3, places=12, size=(192, 144), conditions=("snow", "night"), workers=0))
    prepare(PrepareSettings(dataset=world, split="end", validation_share=0.34))
    sections = {
        "train": {
            "data": str(world), "init": "world:tiny", "iterations": 150, "batch": 4, "crop": 129,
            "backbone_lr": 1.0, "validate_every": 150,
        },
        "evaluate": {"resamples": 0},
        "grid": {"clusters": [20, 50], "corr_weight": {"without": 0, "with": 1}},
    }  # fmt: skip
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(sections))
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(tmp_path / "list.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu", "--json"])
    assert stop.value.code == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert len(rows) == 4
    for clusters in (20, 50):
        without, learnt = (rows[f"clusters{clusters}-{name}"] for name in ("without", "with"))
        for key in ("kappa_position_controlled", "kappa"):
            assert learnt[key] > without[key], (key, clusters)
