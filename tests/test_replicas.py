"""Every public data set goes the whole way through the commands: from labels and correspondences to metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import replicas
from fgsn.cli import main
from fgsn.files import read_json, read_lines
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import load

CLUSTERS = 6
CMU = frozenset(replicas.CMU_DAYS)
ROBOTCAR = frozenset(replicas.ROBOTCAR_CONDITIONS)


@dataclass(frozen=True)
class Way:
    """A labelled set for the base network, and the data sets for the rest."""

    formatted: str
    labelled: Callable[[Path], Path]
    classes: int
    sets: tuple[tuple[Callable[[Path], Path], frozenset[str]], ...]
    """Makers of correspondence sets, with the conditions of their target images."""


WAYS = {
    "camvid-cmu": Way("camvid", replicas.camvid, 11, ((replicas.cmu, CMU),)),
    "cityscapes-robotcar": Way("cityscapes", replicas.cityscapes, 19, ((replicas.robotcar, ROBOTCAR),)),
    "vistas-elsewhere": Way("vistas", replicas.vistas, 66, ((lambda root: replicas.cmu(root, True), CMU),)),
    "converted-two": Way(
        "vistas-cityscapes", replicas.vistas, 19, ((replicas.cmu, CMU), (replicas.robotcar, ROBOTCAR))
    ),
    "lanes-merged": Way("vistas-lanes", replicas.vistas, 20, ((replicas.cmu_and_robotcar, CMU | ROBOTCAR),)),
    "segmented-cmu": Way("segmented", replicas.cmu, 19, ((replicas.cmu, CMU),)),
}
PRETRAIN = "--backbone tiny --iterations 2 --batch 2 --crop 65 --short-side 0"
TRAIN = (
    f"--clusters {CLUSTERS} --iterations 2 --batch 1 --crop 65 --features-per-image 100 --colour-jitter 0 "
    "--rounds 1 --scales 1"
)


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])])
    assert stop.value.code == 0, words


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_whole_way(tmp_path: Path, way: Way) -> None:
    labelled = way.labelled(tmp_path / "labelled")
    if way.formatted in ("vistas-cityscapes", "vistas-lanes"):
        lanes = "--lane-markings" if way.formatted == "vistas-lanes" else ""
        run("convert-vistas", labelled, "--workers 0", lanes)
    spec = f"{way.formatted}:{labelled}"
    run("check", spec)
    run("pretrain --data", spec, PRETRAIN, "--out", tmp_path / "base")
    base = load(tmp_path / "base", "cpu")
    assert base.classes is not None
    assert len(base.classes) == way.classes

    roots = [make(tmp_path / f"set{number}") for number, (make, _) in enumerate(way.sets)]
    for root, (_, conditions) in zip(roots, way.sets, strict=True):
        run("prepare", root, "--validation-share 0.4")
        facts = read_json(root / "results.json")
        pairs = len(conditions) * replicas.PLACES
        assert (facts["pairs"], facts["places_from"]) == (pairs, "shared images")
        assert facts["train_pairs"] + facts["validation_pairs"] == pairs
        assert not set(read_lines(root / "corr_train.txt")) & set(read_lines(root / "corr_val.txt"))
        run("check", root)
    across = ("--init", tmp_path / "base", "--corr-data", *roots, "--out", tmp_path / "across")
    run("pretrain --data", spec, PRETRAIN.replace("--backbone tiny", ""), *across)
    run("train --data", *roots, "--init", tmp_path / "across", TRAIN, "--out", tmp_path / "run")
    for number, (root, (_, conditions)) in enumerate(zip(roots, way.sets, strict=True)):
        out = tmp_path / f"out{number}"
        run("segment --model", tmp_path / "run", "--images", root / "images", "--out", out / "labels")
        images = sorted(path.relative_to(root / "images").with_suffix(".png") for path in root.rglob("images/**/*.jpg"))
        maps = sorted(path.relative_to(out / "labels/labels") for path in out.rglob("labels/labels/**/*.png"))
        assert maps == images
        assert read_label_map(out / "labels/labels" / maps[0])[1] == CLUSTERS
        run("stationary --model", tmp_path / "run", "--data", root, "--out", out / "final")
        assert len(load(out / "final", "cpu").stationary or ()) == CLUSTERS
        run("evaluate --resamples 0 --model", out / "final", "--data", root, "--out", out / "metrics")
        metrics = read_json(out / "metrics/results.json")
        assert set(metrics["conditions"]) == conditions
        assert metrics["points"] == 60 * metrics["pairs"]
        assert metrics["failed"] == []
        assert metrics["semantic_images"] == len(list((root / "segmented_images/validation/annos").iterdir()))
        assert 0 <= metrics["semantic_nmi"] <= 1
        run("evaluate --resamples 0 --model", tmp_path / "base", "--data", root, "--out", out / "base")
        assert ("mean_iou" in read_json(out / "base/results.json")) == (way.classes in (19, 20))
