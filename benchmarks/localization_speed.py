"""What localization costs per query: SSMC, GSMC from coarse to fine beside the plain 360 angles, and the pose.

    OMP_NUM_THREADS=2 PYTHONPATH=tests python benchmarks/localization_speed.py [--matches 500] [--voters 3000]
        [--rounds 5] [--right 0.1] [--device cpu|cuda] [--json FILE]

A street of labelled planes, 1024 x 768 pixels, 100 labels, 30 % of the query's labels wrong, priors with 1 degree and
0.3 m of noise. Every match has four circles at most. The methods alternate within each round; `processor` is
the least time on processors, which others on the machine disturb less.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from fgsn.geometry.camera import Camera
from fgsn.localization.circles import Search
from fgsn.localization.gsmc import gsmc_scores, match_votes, sampling_weights
from fgsn.localization.labelled_map import labels_at
from fgsn.localization.robust_pose import estimate_pose
from fgsn.localization.ssmc import consistent
from street import make_map, make_matches, make_query

LABELS = 100
CAMERA = Camera(1024, 768, 870.0, 870.0, 511.5, 383.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", type=int, default=500)
    parser.add_argument("--voters", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--right", type=float, default=0.1, help="share of right matches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    random = np.random.default_rng(0)
    voters = make_map(random, options.voters, LABELS)
    query = make_query(random, LABELS, CAMERA, wrong=0.3, gravity_degrees=1, height_metres=0.3)
    right = round(options.right * options.matches)
    matches = make_matches(random, query, voters, options.matches, right, CAMERA)
    points, pixels = voters.points[matches.rows], matches.pixels
    # Ranges that rule nothing out, so that every match has circles: the most work there can be.
    bounds = np.full(len(points), 1.0), np.full(len(points), 60.0)

    def ssmc() -> Any:
        return consistent(matches.rows, voters.labels, labels_at(query.labels, pixels))

    def gsmc(**search: Any) -> Callable[[], Any]:
        return lambda: gsmc_scores(
            CAMERA, pixels, points, voters, query.labels, query.gravity, query.height,
            match_range=bounds, gravity_noise=3.0, height_noise=1.0, search=Search(**search), device=options.device,
        )  # fmt: skip

    scores = gsmc()()
    weights, votes = sampling_weights(scores), match_votes(scores)
    keep = ssmc() > 0
    methods = {
        "ssmc weights": ssmc,
        "gsmc scores, coarse to fine": gsmc(),
        "gsmc scores, coarse to fine, one circle": gsmc(radii=1),
        "gsmc scores, plain 360 angles, one circle": gsmc(angles=(1.0,), radii=1),
        "pose of all matches": lambda: estimate_pose(CAMERA, pixels, points),
        "pose of what ssmc keeps": lambda: estimate_pose(CAMERA, pixels[keep], points[keep]),
        "pose by gsmc": lambda: estimate_pose(CAMERA, pixels, points, weights, votes=votes),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(options.rounds):
        for name, method in methods.items():
            began = time.perf_counter(), time.process_time()
            method()
            seconds[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    results: dict[str, dict[str, float]] = {}
    for name, values in seconds.items():
        wall, processor = zip(*values, strict=True)
        results[name] = {"median": statistics.median(wall), "least": min(wall), "processor": min(processor)}
    print(f"{options.matches} matches ({right} right), {len(voters)} voters, {torch.get_num_threads()} threads")
    for name, figures in results.items():
        print(f"{name:45s}", *(f"{kind} {1000 * value:9.2f} ms  " for kind, value in figures.items()))
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (options.device != "cpu")
    with profile(activities=activities) as profiler:
        methods["gsmc scores, coarse to fine"]()
    spent = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in spent)
    results["where"] = {row.key: row.self_cpu_time_total / total for row in spent[:10]}
    print("where gsmc's time goes:", ", ".join(f"{key} {share:.0%}" for key, share in results["where"].items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
