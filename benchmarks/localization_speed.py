"""Time of localization per query: SSMC, GSMC (coarse-to-fine and exhaustive search), pose estimator, and matching.

    OMP_NUM_THREADS=2 python benchmarks/localization_speed.py [--matches 500] [--voters 3000]
        [--rounds 5] [--right 0.1] [--device cpu|cuda] [--json FILE]

Uses the street of `fgsn bench --subjects gsmc` (fgsn/bench/gsmc.py). Every match has at most four circles. The methods
alternate within each round; `processor` is CPU time, which other programs on the machine disturb less.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile

from fgsn.bench.gsmc import CAMERA, make_street_scene
from fgsn.bench.measure import alternating
from fgsn.inference.label_lookup import labels_at
from fgsn.localization.gsmc import match_votes, sampling_weights
from fgsn.localization.robust_pose import estimate_pose
from fgsn.localization.ssmc import consistent
from fgsn.matching.augmentation import augmented
from fgsn.matching.nearest import mutual_nearest


def matching(labels: int, images: int = 10, points: tuple[int, int] = (2048, 2000)) -> Callable[[], Any]:
    """Append label vectors to the random descriptors of a query and match them with those of map images."""
    rng = np.random.default_rng(0)

    def unit(count: int, dimensions: int) -> NDArray[np.float32]:
        rows = rng.standard_normal((count, dimensions), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    sides = [(unit(count, 64), unit(count, max(labels, 1))) for count in (points[0], *[points[1]] * images)]

    def match() -> Any:
        query, *others = (augmented(one, (0.2 if labels else 0.0, vectors)) for one, vectors in sides)
        return [mutual_nearest(query, other) for other in others]

    return match


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", type=int, default=500)
    parser.add_argument("--voters", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--right", type=float, default=0.1, help="share of correct matches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    scene = make_street_scene(0, options.matches, options.voters, options.right, options.device)
    voters, pixels, points, gsmc = scene.voters, scene.matches.pixels, scene.points, scene.gsmc
    right = int(scene.matches.right.sum())

    def ssmc() -> Any:
        return consistent(scene.matches.rows, voters.labels, labels_at(scene.query.labels, pixels))

    scores = gsmc()()
    weights, votes = sampling_weights(scores), match_votes(scores)
    keep = ssmc() > 0
    methods = {
        "ssmc weights": ssmc,
        "gsmc scores, coarse to fine": gsmc(),
        "gsmc scores, coarse to fine, one circle": gsmc(radii=1),
        "gsmc scores, all 360 angles, one circle": gsmc(angles=(1.0,), radii=1),
        "pose from all matches": lambda: estimate_pose(CAMERA, pixels, points),
        "pose from the matches that ssmc keeps": lambda: estimate_pose(CAMERA, pixels[keep], points[keep]),
        "pose by gsmc": lambda: estimate_pose(CAMERA, pixels, points, weights, votes=votes),
        **{f"matching with 10 map images, {labels} labels appended": matching(labels) for labels in (0, 100, 200)},
    }
    results: dict[str, dict[str, float]] = {}
    for name, times in alternating(methods, options.rounds, torch.device(options.device)).items():
        wall, processor = times.wall, times.processor
        results[name] = {"median": statistics.median(wall), "least": min(wall), "processor": min(processor)}
    print(f"{options.matches} matches ({right} correct), {len(voters)} voters, {torch.get_num_threads()} threads")
    for name, metrics in results.items():
        print(f"{name:45s}", *(f"{kind} {1000 * value:9.2f} ms  " for kind, value in metrics.items()))
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (options.device != "cpu")
    with profile(activities=activities) as profiler:
        methods["gsmc scores, coarse to fine"]()
    spent = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in spent)
    results["where"] = {row.key: row.self_cpu_time_total / total for row in spent[:10]}
    print("gsmc spends its time in:", ", ".join(f"{key} {share:.0%}" for key, share in results["where"].items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
