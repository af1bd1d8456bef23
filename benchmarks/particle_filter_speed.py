"""Time of a step of the particle filter, by stage, and of the baseline that scores one particle at a time.

    python benchmarks/particle_filter_speed.py [--particles 1000 --points 2000 --labels 100 --threads 1 --device cpu]

Both score the same particles with the same map points and label map, and must agree. Several threads help only on an
idle machine: on a shared one they wait for each other at every small operation.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from fgsn.bench.pfsl import CAMERA, STILL, baseline_scores, make_filter
from fgsn.tracking import particle_filter
from fgsn.tracking.likelihood import LabelLikelihood

FRAMES = 10


def timed(times: dict[str, list[float]], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, recording the seconds of each call in `times[name]`."""

    def call(*arguments: Any, **more: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **more)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times[name].append(time.perf_counter() - start)
        return result

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("particles", 1000), ("points", 2000), ("labels", 100), ("threads", 1)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    tracker, labels = make_filter(settings.particles, settings.points, settings.labels, device)
    first = time.perf_counter()
    tracker.step(STILL, labels, CAMERA)
    first = time.perf_counter() - first

    times: dict[str, list[float]] = defaultdict(list)
    kept: list[tuple[LabelLikelihood, torch.Tensor, float]] = []
    look = tracker._likelihood

    def remember(*arguments: Any) -> Any:
        kept.append(look(*arguments))
        return kept[-1]

    tracker.predict = timed(times, "predict", tracker.predict)
    tracker._likelihood = timed(times, "prepare the image", remember)
    tracker.update = timed(times, "update", tracker.update)
    tracker.estimate = timed(times, "mean and covariance", tracker.estimate)
    scores = LabelLikelihood.scores
    particle_filter.LabelLikelihood.scores = timed(times, "score particles", scores)
    for _ in range(FRAMES):
        timed(times, "step", tracker.step)(STILL, labels, CAMERA)

    step, calls = median(times["step"]), len(times["score particles"]) / FRAMES
    print(f"{settings.particles} particles, {kept[-1][0].points.shape[1]} points in view, {settings.labels} labels, ")
    print(f"{CAMERA.width} x {CAMERA.height} pixels, {settings.threads} threads, {settings.device}")
    print(f"step          {step * 1e3:8.1f} ms = {1 / step:.1f} frames/s (first, from a rough pose: {first:.2f} s)")
    for name in ("predict", "prepare the image", "score particles", "mean and covariance"):
        print(f"  {name:20s}{sum(times[name]) / FRAMES * 1e3:8.1f} ms")
    rest = sum(times["update"]) - sum(times["score particles"])
    print(f"  {'resample and move':20s}{rest / FRAMES * 1e3:8.1f} ms")
    one = median(times["score particles"])
    print(f"scores, all particles at once {one * 1e3:8.1f} ms, {calls:.1f} times per step")
    if settings.device == "cpu":
        evidence, middle, _ = kept[-1]
        start = time.perf_counter()
        baseline = baseline_scores(tracker, evidence, middle)
        took = time.perf_counter() - start
        ours = scores(evidence, particle_filter.rotations.to_matrix(tracker._quaternions), tracker._centres - middle)
        apart = np.abs(baseline - ours.numpy())
        print(f"scores, one particle at a time {took * 1e3:8.1f} ms: {took / one:.0f} times as long")
        print(f"difference of the scores: median {np.median(apart):.1g}, largest {apart.max():.2g}")


if __name__ == "__main__":
    main()
