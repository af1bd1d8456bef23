"""The particle filter: all particles are scored at once; the baseline scores one at a time in NumPy."""

from typing import Any

import numpy as np
import torch

from fgsn.bench.measure import alternating, metrics
from fgsn.config import BenchSettings
from fgsn.geometry import rotations
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.geometry.visibility import Visibility
from fgsn.inference.model import prepare_device
from fgsn.tracking.confusion import Confusion
from fgsn.tracking.likelihood import LabelLikelihood
from fgsn.tracking.map_points import MapPoints
from fgsn.tracking.particle_filter import FilterSettings, ParticleFilter, Spread

CAMERA = Camera(1024, 768, 869.0, 866.0, 525.0, 419.5)
STILL = Pose(np.eye(3), np.zeros(3))
OPERATIONS, BYTES = 32, 12
"""Per point and particle: rotate, divide and test the cone; read the symbol and its evidence."""


def pfsl(settings: BenchSettings) -> dict[str, Any]:
    """Score all particles; `step_s` is the time of a complete filter step."""
    particles, points, labels = (1000, 2000, 100) if settings.full else (300, 1000, 100)
    device = prepare_device(settings.device)
    tracker, shown = make_filter(particles, points, labels, device)
    step = alternating({"step": lambda: tracker.step(STILL, shown, CAMERA)}, settings.rounds, device)
    evidence, middle, _ = tracker._likelihood(shown, CAMERA)
    rotation, centre = rotations.to_matrix(tracker._quaternions), tracker._centres - middle
    methods = {
        "ours": lambda: evidence.scores(rotation, centre).cpu().numpy(),
        "baseline": lambda: baseline_scores(tracker, evidence, middle),
    }
    timed = alternating(methods, settings.rounds, device)
    seen = particles * evidence.points.shape[1]
    shapes = f"{particles} particles, {evidence.points.shape[1]} points in view, {labels} labels"
    row = metrics(timed | step, shapes, device, torch.float32, OPERATIONS * seen, BYTES * seen)
    apart = float(np.median(np.abs(timed["ours"].result - timed["baseline"].result)))
    return row | {"median_difference": apart}


def make_filter(particles: int, points: int, labels: int, device: torch.device) -> tuple[ParticleFilter, np.ndarray]:
    """A filter started at the origin, and the label map (H, W) that it observes."""
    street, shown = _street(points, labels)
    confusion = Confusion(70 * np.eye(labels, dtype=np.int64) + 1)
    tracker = ParticleFilter(street, confusion, FilterSettings(particles=particles, points=points), device)
    tracker.start(STILL, Spread((0.5, 0.2, 0.5), 1.0))
    return tracker, shown


def _street(count: int, labels: int) -> tuple[MapPoints, np.ndarray]:
    """Points in view of a camera at the origin that looks along z, and a label map that agrees with most of them."""
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


def baseline_scores(tracker: ParticleFilter, evidence: LabelLikelihood, middle: torch.Tensor) -> np.ndarray:
    """Scores of the particles in NumPy, one particle at a time, each over all points at once."""
    assert evidence.cones is not None
    points, symbols = evidence.points.cpu().numpy().T.astype(np.float64), evidence.symbols.cpu().numpy()
    *axis, cosine, nearest, farthest = evidence.cones.cpu().numpy().astype(np.float64)
    rows, table, camera = evidence.rows.cpu().numpy(), evidence.table.cpu().numpy(), evidence.camera
    scores = []
    quaternions, centres = tracker._quaternions.cpu().numpy(), (tracker._centres - middle).cpu().numpy()
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
