"""The experiments in configs/: every file is one that its command takes, and does what its name says."""

import importlib.util
import re
from pathlib import Path

import pytest

from fgsn.cli import parse
from fgsn.config import SweepSettings
from fgsn.data.labelled import CITYSCAPES_CLASSES
from fgsn.sweep import read_experiments

CONFIGS = Path(__file__).parent.parent / "configs"
PAPER = sorted((CONFIGS / "paper").glob("fgsn-*.yaml"))
RECIPE = {
    "iterations": 60000, "batch": 1, "crop": 713, "short_side": 1024, "gradient": "coin", "class_weight": 1.0,
    "feature_weight": 0.0, "aux_weight": 0.4, "lr": 2.5e-5, "backbone_lr": 1.0, "power": 1.0, "weight_decay": 1e-4,
    "clip": 0.0, "colour_jitter": 0.0, "features_per_image": 500, "pca_dim": 256, "kmeans_iterations": 20,
    "validate_every": 2500,
}  # fmt: skip
"""Larsson et al., ICCV 2019, as the authors ran it."""


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_an_experiment_of_the_paper_is_what_its_name_says(path):
    settings, _ = parse("train", ["--config", str(path)])
    values = settings.as_dict()
    assert {key: values[key] for key in RECIPE} == RECIPE
    name = path.stem
    assert values["clusters"] == int(re.search(r"\d+", name)[0])
    assert values["corr_weight"] == (0.0 if name.endswith("no-corr") else 1.0)
    assert values["recluster_every"] == (0 if name.endswith("once") else 10000)
    start = next((word for word in ("class", "cityscapes") if name.endswith(word)), "seg")
    assert values["init"] == f"models/{start}.safetensors"
    sets = {"cmu-only": ["data/extended-cmu"], "robotcar-only": ["data/robotcar"]}
    both = ["data/extended-cmu", "data/robotcar"]
    assert values["data"] == next((only for word, only in sets.items() if name.endswith(word)), both)
    assert values["out"] == f"runs/{name}"
    assert f"fgsn train --config configs/paper/{path.name}" in path.read_text(encoding="utf-8")


def test_the_rows_of_the_papers_table_are_all_there():
    assert {path.stem.removeprefix("fgsn-") for path in PAPER} == {
        "20", "100", "200", "1000", "100-once", "200-robotcar-only", "200-cmu-only", "200-no-corr", "1000-no-corr",
        "200-class", "200-cityscapes",
    }  # fmt: skip
    text = (CONFIGS / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in PAPER if f"`{path.stem}`" not in text] == []


@pytest.mark.parametrize("path", sorted((CONFIGS / "cvpr2019").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_of_the_supervised_predecessor_is_what_its_name_says(path):
    values = parse("pretrain", ["--config", str(path)])[0].as_dict()
    data, loss = path.stem.split("-")
    assert values["corr_data"] == [{"cmu": "data/extended-cmu", "robotcar": "data/robotcar"}[data]]
    assert values["corr_loss"].lower() == loss
    assert values["corr_weight"] == (0.1 if loss == "hingef" else 1.0)
    assert [CITYSCAPES_CLASSES.index(name) for name in values["corr_ignore"]] == list(range(11, 19))
    recipe = {"iterations": 30000, "batch": 1, "crop": 713, "lr": 2.5e-5, "weight_decay": 1e-4, "backbone_lr": 1.0}
    assert {key: values[key] for key in recipe} == recipe
    assert values["out"] == f"runs/cvpr2019-{path.stem}"
    assert f"fgsn pretrain --config configs/cvpr2019/{path.name}" in path.read_text(encoding="utf-8")
    assert f"`{path.stem}`" in (CONFIGS / "README.md").read_text(encoding="utf-8")


def test_the_experiments_of_the_supervised_predecessor_are_all_there():
    assert len(list((CONFIGS / "cvpr2019").glob("*.yaml"))) == 2 * 3


def test_the_small_sweep_covers_the_papers_questions():
    experiments = read_experiments(SweepSettings(experiments=CONFIGS / "small" / "paper.yaml", out=Path("sweep")))
    seen = {
        (run.train.clusters, run.train.corr_weight, run.train.recluster_every > 0, run.train.init.stem)
        for run in experiments
    }
    assert len(seen) == len(experiments) == 4 * 2 * 2 * 2
    assert {run.train.clusters for run in experiments} == {20, 100, 200, 1000}
    for run in experiments:
        clusterings = 1 + (run.train.iterations - 1) // run.train.recluster_every if run.train.recluster_every else 1
        assert clusterings in (1, 3)


def test_the_page_of_experiments_is_what_its_command_writes():
    root = CONFIGS.parent
    spec = importlib.util.spec_from_file_location("experiments", root / "benchmarks" / "experiments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (root / "docs" / "experiments.md").read_text(encoding="utf-8") == module.page()
