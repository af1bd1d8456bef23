"""GSMC of one query: from coarse to fine, beside the plain search of every degree of the circle.

A street of labelled planes, 1024 x 768 pixels, 100 labels, 30 % of the query's labels wrong, a tenth of the matches
right, priors with 1 degree and 0.3 m of noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fgsn.bench.measure import alternating, metrics
from fgsn.bench.street import Matches, Query, make_map, make_matches, make_query
from fgsn.config import BenchSettings
from fgsn.geometry.camera import Camera
from fgsn.inference.model import choose_device
from fgsn.localization.circles import Search
from fgsn.localization.gsmc import gsmc_scores
from fgsn.localization.voters import VoteCounter, Voters

LABELS = 100
CAMERA = Camera(1024, 768, 870.0, 870.0, 511.5, 383.5)
OPERATIONS, BYTES = 24, 8
"""Of a voter seen from a pose: rotated, divided, compared; its label read, and that of its pixel."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A query, its matches and the map points that vote."""

    voters: Voters
    query: Query
    matches: Matches
    device: str = "cpu"

    @property
    def points(self) -> np.ndarray:
        """The map points (N, 3) of the matches."""
        return self.voters.points[self.matches.rows]

    def gsmc(self, **search: Any) -> Callable[[], np.ndarray]:
        """What scores the matches with such a search."""
        # Ranges that rule nothing out, so that every match has circles: the most work there can be.
        bounds = np.full(len(self.points), 1.0), np.full(len(self.points), 60.0)
        return lambda: gsmc_scores(
            CAMERA, self.matches.pixels, self.points, self.voters, self.query.labels, self.query.gravity,
            self.query.height, match_range=bounds, gravity_noise=3.0, height_noise=1.0, search=Search(**search),
            device=self.device,
        )  # fmt: skip


def make_scene(seed: int, matches: int, voters: int, right: float, device: str) -> Scene:
    """The street; `right` is the share of right matches."""
    random = np.random.default_rng(seed)
    points = make_map(random, voters, LABELS)
    query = make_query(random, LABELS, CAMERA, wrong=0.3, gravity_degrees=1, height_metres=0.3)
    found = make_matches(random, query, points, matches, round(right * matches), CAMERA)
    return Scene(points, query, found, device)


def gsmc(settings: BenchSettings) -> dict[str, Any]:
    """Both search one circle for each match; `every_circle_s` is what `fgsn localize` does, up to four of them."""
    matches, voters = (500, 3000) if settings.full else (100, 1000)
    device = choose_device(settings.device)
    scene = make_scene(settings.seed, matches, voters, 0.1, device.type)
    ours, plain = scene.gsmc(radii=1), scene.gsmc(radii=1, angles=(1.0,))
    seconds = alternating({"ours": ours, "plain": plain, "every_circle": scene.gsmc()}, settings.rounds, device)
    seen = votes_counted(ours)
    shapes = f"{matches} matches, {voters} voters, {LABELS} labels, {CAMERA.width} x {CAMERA.height}"
    row = metrics(seconds, shapes, device, OPERATIONS * seen, BYTES * seen, torch.float32)
    return row | {"same_best_tenth": _same_best(ours(), plain(), matches // 10)}


def votes_counted(method: Callable[[], Any]) -> int:
    """How many voters a search looks at, from all its poses together."""
    count, asked = VoteCounter.count_votes, []

    def noted(self: VoteCounter, centres: torch.Tensor, yaw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(len(centres) * self.count)
        return count(self, centres, yaw)

    try:
        VoteCounter.count_votes = noted
        method()
    finally:
        VoteCounter.count_votes = count
    return sum(asked)


def _same_best(one: np.ndarray, other: np.ndarray, count: int) -> float:
    """Share of the best matches of one that are among the best of the other."""
    best = (set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (one, other))
    return len(set.intersection(*best)) / max(1, count)
