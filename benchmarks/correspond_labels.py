"""Labels trained on every source of `fgsn correspond`, compared with exact correspondences, on one synthetic town.

    python benchmarks/correspond_labels.py --out DIR [--seed 7] [--places 34] [--conditions sun autumn snow]
        [--sources exact depth position model posed images sparse reconstruct] [--json FILE]

Generates the town, builds a data set from each source without the exact correspondences, and compares its points with
ray casting (`right`: within 2 pixels; `seen`: also visible in the target). Then trains labels on each data set with the
demo's settings at the training places, and evaluates them at the exact correspondences of the other places.

exact: those of the town. depth: its depth maps and poses. position: one noisy map per drive. model: one noisy map of
all drives. posed: poses only, points triangulated from matches. images: images only (sparse: without points between the
matches; reconstruct: one model of all drives).
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from correspond_world import PIXELS, Truth
from label_rows import CONTROLS, label_row

from fgsn.cli import show
from fgsn.config import CorrespondSettings, EvaluateSettings, PrepareSettings, TrainSettings, WorldSettings
from fgsn.correspond.correspond import correspond
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import TRAIN_LIST, Dataset
from fgsn.data.prepare import prepare
from fgsn.demo.demo import FULL, VALIDATION_SHARE
from fgsn.evaluation.evaluate import evaluate
from fgsn.files import write_text
from fgsn.geometry.colmap import write_model
from fgsn.matching.pair import MatchedPair
from fgsn.training.train import train
from fgsn.world import make_world
from fgsn.world.studio import REFERENCE


def sources(world: Path, truth: Truth, out: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Settings of `fgsn correspond` for each source."""
    posed = {
        "poses": (world / "sparse", *sorted((world / "truth").glob("*.txt"))),
        "intrinsics": tuple(sorted((world / "queries").glob("*.txt"))),
    }

    def maps() -> tuple[str, ...]:
        for drive in truth.drives:
            write_model(out / "maps" / drive, truth.model((drive,)))
        return tuple(f"{drive}={out / 'maps' / drive}" for drive in truth.drives)

    def joint() -> tuple[str, ...]:
        write_model(out / "maps" / "all", truth.model(truth.drives))
        return (str(out / "maps" / "all"),)

    return {
        "depth": lambda: {**posed, "depth": world / "depth", "depth_unit": 0.01},
        "position": lambda: {"maps": maps()},
        "model": lambda: {"maps": joint()},
        "posed": lambda: posed,
        "images": lambda: {},
        "sparse": lambda: {"densify": False},
        "reconstruct": lambda: {"reconstruct": True},
    }


def accuracy(data: Dataset, truth: Truth) -> dict[str, float]:
    """Accuracy of the correspondences of a data set."""
    columns = []
    for path in data.correspondence_files():
        pair = read_correspondences(path)
        names = data.name(pair.reference), data.name(pair.target)
        columns.append(truth.judge(MatchedPair(*names, pair.points_ref, pair.points_tgt, np.zeros(len(pair.weights)))))
    errors, _, _, seen = np.concatenate(columns, axis=1)
    right = errors < PIXELS
    return {
        "pairs": len(columns),
        "points": len(errors),
        "right": float(right.mean()),
        "seen": float((right & (seen > 0)).mean()),
        "median_px": float(np.nanmedian(errors)),
    }


def keep_training_places(data: Dataset, world: Dataset, held_out: set[str]) -> None:
    """Write the training list without pairs that show a validation place."""
    kept = []
    for path in data.correspondence_files():
        pair = read_correspondences(path)
        if not held_out & {world.place(data.name(image)) for image in (pair.reference, pair.target)}:
            kept.append(path.name)
    write_text(data.root / TRAIN_LIST, "".join(f"{name}\n" for name in kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--places", type=int, default=34)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 288))
    parser.add_argument("--conditions", nargs="+", default=["sun", "autumn", "snow"])
    parser.add_argument("--sources", nargs="+", default=["exact", "depth", "position", "model", "images"])
    parser.add_argument("--iterations", type=int, default=FULL.iterations)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root = options.out / "world"
    settings = WorldSettings(
        out=root,
        seed=options.seed,
        places=options.places,
        size=tuple(options.size),
        conditions=tuple(options.conditions),
    )
    make_world(settings)
    prepare(PrepareSettings(dataset=root, split="end", validation_share=VALIDATION_SHARE))
    world, truth = Dataset.open(root), Truth(settings)
    held_out = {world.place(read_correspondences(path).reference) for path in world.pairs("validation")}
    given, rows = sources(root, truth, options.out), {}
    for name in options.sources:
        data, row = world, {}
        if name != "exact":
            began = time.monotonic()
            common = {"images": root / "images", "reference": REFERENCE, "per_condition": 1}
            correspond(CorrespondSettings(out=options.out / name, **common, **given[name]()))
            data = Dataset.open(options.out / name)
            row["minutes"] = (time.monotonic() - began) / 60
            keep_training_places(data, world, held_out)
        row |= accuracy(data, truth)
        run = options.out / f"run_{name}"
        if not (run / "model.safetensors").exists():
            recipe = {"clusters": FULL.clusters, "batch": FULL.batch, "crop": FULL.crop}
            steps = {"iterations": options.iterations, "validate_every": options.iterations}
            train(TrainSettings(data=(data.root,), init=Path("world:labels"), out=run, **recipe, **steps))
        # The controls do not depend on the source: measured with the first.
        out, baseline = options.out / f"evaluate_{name}", None if "base classes" in rows else Path("world:tiny")
        metrics = evaluate(EvaluateSettings(model=run, data=root, out=out, baseline=baseline, resamples=0))
        if baseline:
            rows = {words: label_row(metrics["controls"][key]) for key, words in CONTROLS.items()}
        rows[name] = row | label_row(metrics)
        show({"sources": rows})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
