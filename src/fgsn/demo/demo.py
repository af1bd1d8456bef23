"""fgsn demo: the whole chain on the synthetic town, from images of several seasons to labels, poses and a report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgsn.config import (
    CONDITIONS,
    DemoSettings,
    EvaluateSettings,
    PrepareSettings,
    ReportSettings,
    SegmentSettings,
    StationarySettings,
    TrainSettings,
    WorldSettings,
)
from fgsn.data.prepare import prepare
from fgsn.demo.poses import demo_poses
from fgsn.errors import MissingExtraError
from fgsn.evaluation.evaluate import evaluate
from fgsn.evaluation.stationary import stationary
from fgsn.files import write_json
from fgsn.inference.segment import segment
from fgsn.progress import say
from fgsn.report.page import report
from fgsn.training.train import train
from fgsn.world import make_world

HEADING = 45.0
"""Degrees to the right that the camera looks, as in CMU Seasons: ahead, a metre along the street changes little."""
VALIDATION_SHARE = 0.25
BASE, START = Path("world:tiny"), Path("world:labels")
SHORT = (
    "kappa_position_controlled",
    "match_lift_position_controlled",
    "kappa_moved_view",
    "kappa_crop",
    "kappa",
    "information_bits_same_view",
    "clusters_used",
    "points",
    "places",
)
"""Label metrics that fit a terminal; results.json and the page have more."""


@dataclass(frozen=True)
class Size:
    """Size of a demo."""

    places: int
    size: tuple[int, int]
    conditions: tuple[str, ...]
    clusters: int
    iterations: int
    batch: int
    crop: int


FULL = Size(24, (384, 288), CONDITIONS, 100, 400, 4, 257)
QUICK = Size(10, (256, 192), ("autumn", "snow", "night"), 50, 150, 4, 161)


def demo(settings: DemoSettings) -> dict[str, Any]:
    """Generate the synthetic town, train labels on a part of it, evaluate them on the rest, and localize with them.

    Compares five kinds of labels at places that were not trained on: a blind grid, whose labels are fixed cells of the
    image, the classes of a base network, the labels of the start network, which has never seen this town, fine-grained
    labels trained from there without correspondences across conditions, and fine-grained labels trained with them.

    Returns:
        `labels`, `localization`, `stationary`, `seconds` per step and `report`. `results.json` contains the same, with
        all results of `fgsn evaluate` under `labels`.
    """
    chosen = QUICK if settings.quick else FULL
    common: dict[str, Any] = {"seed": settings.seed, "device": settings.device}
    world, seconds = settings.out / "world", {}

    def timed(title: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        say(f"== {title}")
        began = time.monotonic()
        results = work()
        seconds[title] = round(time.monotonic() - began, 1)
        return results

    timed(
        "world: generate the synthetic town in all conditions",
        lambda: make_world(
            WorldSettings(
                out=world,
                places=chosen.places,
                size=chosen.size,
                conditions=chosen.conditions,
                heading=HEADING,
                **common,
            )
        ),
    )
    # Validate on the last places: images of neighbouring places overlap, so random ones would be seen in training.
    timed(
        "prepare: split the places",
        lambda: prepare(PrepareSettings(dataset=world, split="end", validation_share=VALIDATION_SHARE, **common)),
    )
    runs = {"fgsn_without_corr": 0.0, "fgsn": 1.0}
    for name, weight in runs.items():
        timed(
            f"train {name}: {chosen.clusters} labels, L_corr weight {weight:g}",
            lambda name=name, weight=weight: _train(settings, chosen, world, name, weight),
        )
    models = {"base": BASE, "start": START, **{name: settings.out / name / "model.safetensors" for name in runs}}
    labels: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        out = settings.out / f"evaluate_{name}"
        labels[name] = timed(
            f"evaluate {name}",
            lambda model=model, out=out: evaluate(EvaluateSettings(model=model, data=world, out=out, **common)),
        )
    labels = {"grid": labels["fgsn"]["controls"]["grid"], **labels}
    found = timed(
        "stationary: find clusters with enough correspondences",
        lambda: stationary(
            StationarySettings(
                model=models["fgsn"], data=world, out=settings.out / "stationary", split="train", **common
            )
        ),
    )
    maps = {"base": settings.out / "segment_base", "fgsn": settings.out / "segment"}
    for name, model in (("base", BASE), ("fgsn", settings.out / "stationary" / "model.safetensors")):
        timed(
            f"segment {name}: label maps of all images",
            lambda name=name, model=model: segment(
                SegmentSettings(
                    model=model, images=world / "images", out=maps[name], save=("labels", "overlay"), **common
                )
            ),
        )
    try:
        poses = timed(
            "localize: validation places in every condition",
            lambda: demo_poses(settings.out / "localization", world, chosen.conditions, maps, models["fgsn"], **common),
        )
    except MissingExtraError as missing:
        say(f"fgsn: localization is skipped: {missing}")
        poses = {}
    results = {
        "labels": labels,
        "localization": poses,
        "stationary": {"stationary": found["stationary"], "clusters": chosen.clusters},
        "seconds": seconds,
        "report": str(settings.out / "report.html"),
    }
    write_json(settings.out / "results.json", results)
    report(ReportSettings(run=settings.out, **common))
    say(f"== done: open {settings.out / 'report.html'}")
    short = {name: {key: row.get(key) for key in SHORT} for name, row in labels.items()}
    return results | {"labels": short}


def _train(settings: DemoSettings, chosen: Size, world: Path, name: str, corr_weight: float) -> dict[str, Any]:
    out = settings.out / name
    return train(
        TrainSettings(
            data=(world,),
            init=START,
            out=out,
            clusters=chosen.clusters,
            iterations=chosen.iterations,
            batch=chosen.batch,
            crop=chosen.crop,
            corr_weight=corr_weight,
            # Validate once, at the end: selecting a checkpoint on the reported places would bias the metrics.
            validate_every=chosen.iterations,
            resume=(out / "config.yaml").exists(),
            seed=settings.seed,
            device=settings.device,
        )
    )
