"""GSMC of one query: coarse-to-fine search; the baseline evaluates every degree of the circle.

A street of labelled planes, 1024 x 768 pixels, 100 labels; 30 % of the query's labels are wrong, 10 % of the matches
are correct, and the priors have 1 degree and 0.3 m of noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fgsn.bench.measure import alternating, metrics
from fgsn.bench.street import StreetMatches, StreetQuery, make_map, make_matches, make_query
from fgsn.config import BenchSettings
from fgsn.geometry.camera import Camera
from fgsn.inference.model import prepare_device
from fgsn.localization.circles import Search
from fgsn.localization.gsmc import gsmc_scores
from fgsn.localization.voters import VoteCounter, Voters

LABELS = 100
CAMERA = Camera(1024, 768, 870.0, 870.0, 511.5, 383.5)
OPERATIONS, BYTES = 24, 8
"""Per voter and pose: rotate, divide and compare; read its label and the label of its pixel."""


@dataclass(frozen=True, eq=False)
class StreetScene:
    """A query, its matches, and the map points that vote on them."""

    voters: Voters
    query: StreetQuery
    matches: StreetMatches
    device: str = "cpu"

    @property
    def points(self) -> np.ndarray:
        """Map points (N, 3) of the matches."""
        return self.voters.points[self.matches.rows]

    def gsmc(self, **search: Any) -> Callable[[], np.ndarray]:
        """A function that scores the matches; `search` are the settings of `Search`."""
        # These ranges rule out nothing, so every match has circles: the worst case.
        bounds = np.full(len(self.points), 1.0), np.full(len(self.points), 60.0)
        return lambda: gsmc_scores(
            CAMERA, self.matches.pixels, self.points, self.voters, self.query.labels, self.query.gravity,
            self.query.height, match_range=bounds, gravity_noise=3.0, height_noise=1.0, search=Search(**search),
            device=self.device,
        )  # fmt: skip


def make_street_scene(seed: int, matches: int, voters: int, right: float, device: str) -> StreetScene:
    """Generate a street; `right` is the share of correct matches."""
    random = np.random.default_rng(seed)
    points = make_map(random, voters, LABELS)
    query = make_query(random, LABELS, CAMERA, wrong=0.3, gravity_degrees=1, height_metres=0.3)
    found = make_matches(random, query, points, matches, round(right * matches), CAMERA)
    return StreetScene(points, query, found, device)


def gsmc(settings: BenchSettings) -> dict[str, Any]:
    """Ours and the baseline search one circle per match; `every_circle_s` is for up to four, as in `fgsn localize`."""
    matches, voters = (500, 3000) if settings.full else (100, 1000)
    device = prepare_device(settings.device)
    scene = make_street_scene(settings.seed, matches, voters, 0.1, device.type)
    ours = scene.gsmc(radii=1)
    methods = {"ours": ours, "baseline": scene.gsmc(radii=1, angles=(1.0,)), "every_circle": scene.gsmc()}
    timed = alternating(methods, settings.rounds, device)
    seen = votes_evaluated(ours)
    shapes = f"{matches} matches, {voters} voters, {LABELS} labels, {CAMERA.width} x {CAMERA.height}"
    row = metrics(timed, shapes, device, torch.float32, OPERATIONS * seen, BYTES * seen)
    return row | {"same_best_tenth": _same_best(timed["ours"].result, timed["baseline"].result, matches // 10)}


def votes_evaluated(method: Callable[[], Any]) -> int:
    """How many votes a search evaluates: the number of voters, summed over all poses that it tries."""
    count, evaluated = VoteCounter.count_votes, []

    def recorded(self: VoteCounter, centres: torch.Tensor, yaw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        evaluated.append(len(centres) * self.count)
        return count(self, centres, yaw)

    try:
        VoteCounter.count_votes = recorded
        method()
    finally:
        VoteCounter.count_votes = count
    return sum(evaluated)


def _same_best(one: np.ndarray, other: np.ndarray, count: int) -> float:
    """Share of the `count` best matches of one that are also among the `count` best of the other."""
    best = (set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (one, other))
    return len(set.intersection(*best)) / max(1, count)
