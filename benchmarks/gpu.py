"""All checks on a GPU in one call of at most nine minutes: parity with the CPU, `fgsn bench`, a small training.

    python benchmarks/gpu.py --out FOLDER [--small] [--device cuda|cpu] [--minutes 9]

parity: the same network, codebook, matches and particles on the CPU in float32 and on the device.
bench: `fgsn bench --full` on the device (with --small: `fgsn bench`).
training: `fgsn demo --quick`, which generates a town, trains labels, evaluates them and localizes with them.
FOLDER/gpu.json is written after each part. A part that cannot start in time is skipped and listed under `left_out`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgsn.bench import gsmc, pfsl
from fgsn.bench.bench import bench
from fgsn.bench.clustering import blobs
from fgsn.bench.segmentation import random_model, textures
from fgsn.clustering.codebook import Codebook
from fgsn.config import BenchSettings, DemoSettings
from fgsn.data.images import read_image
from fgsn.demo.demo import demo
from fgsn.files import write_json
from fgsn.geometry import rotations
from fgsn.inference.model import prepare_device
from fgsn.inference.segmenter import Segmenter
from fgsn.progress import say

BEGIN_WITHIN = {"parity": 1.0, "training": 0.6, "bench": 0.5}
"""A part starts only before this share of --minutes has passed."""


def parity(device: torch.device, small: bool, folder: Path) -> dict[str, float]:
    """Differences between the device and the CPU: shares of equal labels, and errors of scores."""
    found: dict[str, float] = {}
    backbone, window, size = ("lite", 257, (320, 256)) if small else ("resnet101", 713, (1024, 768))
    folder.mkdir(parents=True, exist_ok=True)
    pixels = read_image(textures(folder, size, 1, seed=0)[0])
    models = [random_model(BenchSettings(device=name), backbone, window) for name in ("cpu", device.type)]
    scores, labels = models[0].scores(pixels), models[0].segment(pixels)
    for precision in ("float32", "bfloat16"):
        segmenter = Segmenter(models[1], precision)
        off = (segmenter.scores(pixels).cpu() - scores).abs().mean() / scores.std()
        found[f"segment_{precision}_score_error"] = float(off)
        found[f"segment_{precision}_equal"] = float(np.mean(segmenter.labels(pixels) == labels))

    samples = blobs(0, 20_000, 128, 100)
    codebook = Codebook.fit(samples, 100)
    there = codebook.to(device).assign_tensor(samples.to(device)).cpu().numpy()
    found["assign_equal"] = float(np.mean(there == codebook.assign(samples)))
    again = Codebook.fit(samples.to(device), 100)
    found["clustering_objective_ratio"] = again.objective[-1] / codebook.objective[-1]

    here, there = (gsmc.make_street_scene(0, 100, 1000, 0.1, name).gsmc()() for name in ("cpu", device.type))
    found["gsmc_largest_difference"] = float(np.abs(here - there).max())

    tracker, shown = pfsl.make_filter(200, 500, 100, device)
    tracker.step(pfsl.STILL, shown, pfsl.CAMERA)
    evidence, middle, _ = tracker._likelihood(shown, pfsl.CAMERA)
    there = evidence.scores(rotations.to_matrix(tracker._quaternions), tracker._centres - middle).cpu().numpy()
    apart = np.abs(there - pfsl.baseline_scores(tracker, evidence, middle))
    found["pfsl_median_difference"] = float(np.median(apart))
    return found


def training(device: torch.device, folder: Path) -> dict[str, Any]:
    """Headline metric of the labels of `fgsn demo --quick`, by model."""
    results = demo(DemoSettings(out=folder, quick=True, device=device.type))
    return {name: row["kappa_position_controlled"] for name, row in results["labels"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--minutes", type=float, default=9.0)
    options = parser.parse_args()
    device = prepare_device(options.device)
    settings = BenchSettings(full=not options.small, rounds=2, device=device.type, out=options.out / "bench.json")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "parity": lambda: parity(device, options.small, options.out / "parity"),
        "training": lambda: training(device, options.out / "demo"),
        "bench": lambda: bench(settings),
    }
    results: dict[str, Any] = {"device": str(device), "left_out": []}
    began = time.monotonic()
    for name, part in parts.items():
        started = time.monotonic()
        if started - began > BEGIN_WITHIN[name] * 60 * options.minutes:
            results["left_out"].append(name)
            continue
        results[name] = part()
        results[name]["seconds"] = round(time.monotonic() - started, 1)
        say(f"{name}: {results[name]['seconds']} s")
        write_json(options.out / "gpu.json", results)
    results["seconds"] = round(time.monotonic() - began, 1)
    write_json(options.out / "gpu.json", results)
    say(f"{options.out / 'gpu.json'}: {results['seconds']} s in all, left out: {results['left_out'] or 'nothing'}")


if __name__ == "__main__":
    main()
