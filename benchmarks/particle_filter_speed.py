"""How fast the particle filter is, and where the time goes; beside it the plain version, one particle after the other.

    python benchmarks/particle_filter_speed.py [--particles 1000 --points 2000 --labels 100 --threads 1 --device cpu]

Both score the same particles against the same map points and label map, and must agree. Several threads help on an idle
machine only: on one that is shared they wait for each other at every small step.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.localization import particle_filter
from fgsn.localization.confusion import Confusion
from fgsn.localization.evidence import LabelEvidence
from fgsn.localization.map_points import MapPoints, Visibility
from fgsn.localization.particle_filter import FilterSettings, ParticleFilter, Spread

CAMERA = Camera(1024, 768, 869.0, 866.0, 525.0, 419.5)
FRAMES = 10


def street(count: int, labels: int) -> tuple[MapPoints, np.ndarray]:
    """Points along z, all of which are in view from the origin, and a label map that agrees with most of them."""
    rng = np.random.default_rng(0)
    shown = np.kron(rng.integers(0, labels, (24, 32)), np.ones((32, 32), int))
    pixels = rng.uniform((0, 0), (1023, 767), (count, 2))
    depth = rng.uniform(5, 50, count)
    positions = CAMERA.unproject(pixels, depth)
    column, row = np.rint(pixels).astype(int).T
    distance = np.linalg.norm(positions, axis=1)
    axis = -positions / distance[:, None]
    seen = Visibility(0.3 * distance, 2 * distance, axis, np.full(count, 0.5))
    point_labels = np.where(rng.random(count) < 0.7, shown[row, column], rng.integers(0, labels, count))
    return MapPoints(positions, point_labels, seen), shown


def plain(tracker: ParticleFilter, evidence: LabelEvidence, middle: torch.Tensor) -> np.ndarray:
    """The score of one particle after the other, each over all points at once, in NumPy."""
    assert evidence.cones is not None
    points, symbols = evidence.points.numpy().T.astype(np.float64), evidence.symbols.numpy()
    *axis, cosine, nearest, farthest = evidence.cones.numpy().astype(np.float64)
    rows, table, camera = evidence.rows.numpy(), evidence.table.numpy(), evidence.camera
    scores = []
    quaternions, centres = tracker._quaternions.numpy(), (tracker._centres - middle).numpy()
    for quaternion, centre in zip(quaternions, centres, strict=True):
        rotation = Pose.from_quaternion(quaternion, np.zeros(3)).rotation
        ray = centre - points
        distance = np.linalg.norm(ray, axis=1)
        seen = (distance >= nearest) & (distance <= farthest) & ((ray * np.transpose(axis)).sum(1) >= cosine * distance)
        pixels, depth = camera.project(Pose.from_centre(rotation, centre).transform(points))
        column, row = np.floor(np.nan_to_num(pixels, nan=-9) + 0.5).astype(int).T
        seen &= (depth > 0.1) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        symbol = symbols[(row[seen] + 1) * (camera.width + 2) + column[seen] + 1]
        scores.append(table[rows[seen] + symbol].sum())
    return np.array(scores)


def timed(times: dict[str, list[float]], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, that also notes how long each call took."""

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
    points, labels = street(settings.points, settings.labels)
    confusion = Confusion(70 * np.eye(settings.labels, dtype=np.int64) + 1)
    tracker = ParticleFilter(
        points,
        confusion,
        FilterSettings(particles=settings.particles, points=settings.points),
        torch.device(settings.device),
    )
    tracker.start(Pose(np.eye(3), np.zeros(3)), Spread((0.5, 0.2, 0.5), 1.0))
    still = Pose(np.eye(3), np.zeros(3))
    first = time.perf_counter()
    tracker.step(still, labels, CAMERA)
    first = time.perf_counter() - first

    times: dict[str, list[float]] = defaultdict(list)
    kept: list[tuple[LabelEvidence, torch.Tensor, float]] = []
    look = tracker._look

    def remember(*arguments: Any) -> Any:
        kept.append(look(*arguments))
        return kept[-1]

    tracker.predict = timed(times, "predict", tracker.predict)
    tracker._look = timed(times, "prepare the image", remember)
    tracker.update = timed(times, "update", tracker.update)
    tracker.estimate = timed(times, "mean and covariance", tracker.estimate)
    scores = LabelEvidence.scores
    particle_filter.LabelEvidence.scores = timed(times, "score particles", scores)
    for _ in range(FRAMES):
        timed(times, "step", tracker.step)(still, labels, CAMERA)

    step, calls = median(times["step"]), len(times["score particles"]) / FRAMES
    print(f"{settings.particles} particles, {kept[-1][0].points.shape[1]} points in view, {settings.labels} labels, ")
    print(f"{CAMERA.width} x {CAMERA.height} pixels, {settings.threads} threads, {settings.device}")
    print(f"step          {step * 1e3:8.1f} ms = {1 / step:.1f} frames/s (the first, from a rough pose: {first:.2f} s)")
    for name in ("predict", "prepare the image", "score particles", "mean and covariance"):
        print(f"  {name:20s}{sum(times[name]) / FRAMES * 1e3:8.1f} ms")
    rest = sum(times["update"]) - sum(times["score particles"])
    print(f"  {'draw and move':20s}{rest / FRAMES * 1e3:8.1f} ms")
    one = median(times["score particles"])
    print(f"scores, all particles at once {one * 1e3:8.1f} ms, {calls:.1f} times a step")
    if settings.device == "cpu":
        evidence, middle, _ = kept[-1]
        start = time.perf_counter()
        slow = plain(tracker, evidence, middle)
        took = time.perf_counter() - start
        fast = scores(evidence, particle_filter.rotations.to_matrix(tracker._quaternions), tracker._centres - middle)
        apart = np.abs(slow - fast.numpy())
        print(f"scores, one particle after the other {took * 1e3:8.1f} ms: {took / one:.0f} times as long")
        print(f"their scores differ by {np.median(apart):.1g} in the middle, {apart.max():.2g} at most")


if __name__ == "__main__":
    main()
