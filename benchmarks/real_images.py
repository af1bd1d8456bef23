"""Label metrics on real images, at places that were not trained on.

    python benchmarks/real_images.py DATA --base MODEL --out FOLDER --set cmu|michigan [--json FILE]

DATA contains the folders cmu_seasons and michigan (see the README of the development data). `cmu` trains on the first
60 % of the route and evaluates on the rest; training pairs that share an image with the rest are dropped. `michigan`
trains on two places and evaluates on the third, three times. Compares a blind grid of as many cells, the classes of the
base network, a codebook of its untrained features, and trained labels; with --others also labels trained without L_corr
and by the paper's clustering (once, of single crops, whitened by PCA).
"""

import argparse
import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_rows import label_row
from PIL import Image

from fgsn.cli import show
from fgsn.config import EvaluateSettings, PrepareSettings, TrainSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size, read_image
from fgsn.data.prepare import prepare
from fgsn.evaluation.evaluate import evaluate
from fgsn.evaluation.measure import measure
from fgsn.inference.model import Model, load
from fgsn.training.train import train

TRAINED_SHARE = 0.6


def subset(source: Path, out: Path, files: list[str]) -> Path:
    """Make a data set of some pairs of another one, all in its training list."""
    (out / "correspondence_data").mkdir(parents=True, exist_ok=True)
    if not (out / "images").exists():
        (out / "images").symlink_to(source / "images")
    for file in files:
        if not (out / "correspondence_data" / file).exists():
            (out / "correspondence_data" / file).symlink_to(source / "correspondence_data" / file)
    prepare(PrepareSettings(dataset=out, validation_share=0))
    return out


def cmu_folds(data: Path, out: Path) -> dict[str, tuple[Path, Path]]:
    """One fold: train on the first part of the route, evaluate on the rest."""
    source = (data / "cmu_seasons").resolve()
    with (source / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    route = sorted({row["ref"] for row in rows})
    first = set(route[: round(TRAINED_SHARE * len(route))])
    rest = [row for row in rows if row["ref"] not in first]
    seen = {row["target"] for row in rest}
    training = [row["file"] for row in rows if row["ref"] in first and row["target"] not in seen]
    return {
        "cmu": (
            subset(source, out / "data" / "cmu_first", training),
            subset(source, out / "data" / "cmu_rest", [row["file"] for row in rest]),
        )
    }


def michigan_folds(data: Path, out: Path) -> dict[str, tuple[Path, Path]]:
    """Three folds, one per place."""
    source = (data / "michigan").resolve()
    with (source / "pairs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    return {
        f"michigan place {place}": (
            subset(source, out / "data" / f"without{place}", [r["file"] for r in rows if r["place"] != place]),
            subset(source, out / "data" / f"only{place}", [r["file"] for r in rows if r["place"] == place]),
        )
        for place in ("1", "2", "3")
    }


FOLDS: dict[str, Callable[[Path, Path], dict[str, tuple[Path, Path]]]] = {"cmu": cmu_folds, "michigan": michigan_folds}
PAPER: dict[str, Any] = {
    "rounds": 1, "labels_from": "crop", "scales": (1.0,), "whitening": "pca", "pca_dim": 256, "zoom": 0.0, "shift": 0.0,
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "cmu": {"short_side": 384, "crop": 257},
    "michigan": {"short_side": 384, "crop": 257},
}


def untrained(run: Path, data: Path) -> dict[str, Any]:
    """Metrics of the first codebook on the features of the initial network, from which it was clustered."""
    model = load(run / "codebooks" / "step0000000.safetensors")
    dataset = Dataset.open(data)
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs("all")]
    return measure(lambda image: nearest_cluster(model, image), pairs, model.clusters, dataset.place)


def nearest_cluster(model: Model, image: Path) -> np.ndarray:
    """Label map (H, W) of the nearest centroids of the feature cells."""
    assert model.codebook is not None
    ids = model.codebook.assign_map(model.feature_map(read_image(image))[None])[0].cpu().numpy()
    width, height = image_size(image)
    return np.asarray(Image.fromarray(ids.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", choices=FOLDS, required=True)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", action="store_true", help="also train without L_corr, and the paper's way")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="further prepared data sets to train on")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for fold, (training, rest) in FOLDS[options.set](options.data, options.out).items():
        place = options.out / fold.replace(" ", "_")
        metrics = evaluate(
            EvaluateSettings(
                model=options.base, data=rest, out=place / "base", split="all", resamples=0, candidates="sift"
            )
        )
        rows[f"{fold}, base classes"] = label_row(metrics)
        runs: dict[str, dict[str, Any]] = {"trained": {}}
        if options.others:
            runs |= {"without L_corr": {"corr_weight": 0.0}, "the paper's clustering": PAPER}
        for name, changes in runs.items():
            run = place / name.replace(" ", "_").replace("'", "")
            settings = TrainSettings(
                data=(training, *options.also),
                init=options.base,
                out=run,
                clusters=options.clusters,
                iterations=options.iterations,
                validate_every=options.iterations,
                precision="bfloat16",
                seed=options.seed,
                **RECIPES[options.set],
                **changes,
            )
            if not (run / "model.safetensors").exists():
                train(replace(settings, resume=(run / "config.yaml").exists()))
            out = place / f"evaluate_{run.name}"
            metrics = evaluate(
                EvaluateSettings(model=run, data=rest, out=out, split="all", resamples=0, candidates="sift")
            )
            rows[f"{fold}, blind grid"] = label_row(metrics["controls"]["grid"])
            rows[f"{fold}, K = {options.clusters} {name}"] = label_row(metrics)
        rows[f"{fold}, untrained features"] = label_row(untrained(place / "trained", rest))
        show({"so far": rows})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
