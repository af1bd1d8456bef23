"""A closer look at the correspondences of a data set: how well they agree, what looks wrong, and pictures of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size
from fgsn.data.pair_check import disagreement, looks_wrong
from fgsn.data.pair_picture import coverage_picture, read_pair_picture
from fgsn.errors import FgsnError
from fgsn.files import atomic_write
from fgsn.progress import tracked

MOST_PAIRS = 500
"""Pairs looked at closely, spread evenly over the data set."""
MANY_WRONG = 0.1
"""A pair with more than this share of wrong-looking points is named."""
GRID = (12, 16)
"""Rows and columns of the coverage map."""


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of one pair."""

    file: Path
    pair: Correspondences
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Width and height of the reference and of the target image."""
    error: float
    """Median distance of its points from where their neighbours say they should be, in pixels; NaN for few points."""
    wrong: np.ndarray
    """(N,) which points look wrong."""

    @property
    def wrong_share(self) -> float:
        """Share of the points that look wrong."""
        return float(self.wrong.mean()) if len(self.wrong) else 0.0


def look_at_pairs(dataset: Dataset, pictures: Path | None, drawn: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Estimate the error of a data set's correspondences, name the pairs that look wrong, and draw pairs.

    Args:
        dataset: the data set.
        pictures: folder to draw into; None draws nothing.
        drawn: pairs to draw, half of them those that look most wrong.
        seed: which of the others are drawn.

    Returns:
        Metrics, and a line for each pair that looks wrong.
    """
    looks = _looks(dataset)
    suspects = sorted(looks, key=lambda look: -look.wrong_share)
    lines = [
        f"{look.file}: {look.wrong_share:.0%} of {len(look.wrong)} points do not move as the points around them do; "
        "look at it with --pictures DIR"
        for look in suspects
        if look.wrong_share > MANY_WRONG
    ]
    errors = [look.error for look in looks if np.isfinite(look.error)]
    wrong = sum(int(look.wrong.sum()) for look in looks) / max(1, sum(len(look.wrong) for look in looks))
    shares = [_coverage(looks, side) for side in (0, 1)]
    metrics = {
        "disagreement_px": round(float(np.median(errors)), 2) if errors else None,
        "wrong_looking": round(wrong, 4),
        "covered_reference": round(float((shares[0] > 0).mean()), 2),
        "covered_target": round(float((shares[1] > 0).mean()), 2),
    }
    if pictures is not None and looks:
        metrics["pictures"] = str(pictures)
        _draw(dataset, suspects, shares, pictures, drawn, np.random.default_rng(seed))
    return metrics, lines


def _looks(dataset: Dataset) -> list[Look]:
    files = dataset.correspondence_files()
    chosen = np.unique(np.linspace(0, len(files) - 1, min(MOST_PAIRS, len(files))).round().astype(int))
    looks = []
    for row in tracked(chosen, "looking at pairs", len(chosen)):
        try:
            pair = read_correspondences(files[row], dataset.images)
            sizes = image_size(pair.reference), image_size(pair.target)
        except FgsnError:
            continue  # named by the other checks
        off, _ = disagreement(pair.points_ref, pair.points_tgt)
        error = float(np.median(off)) if np.isfinite(off).any() else float("nan")
        looks.append(Look(files[row], pair, sizes, error, looks_wrong(pair.points_ref, pair.points_tgt, sizes[1])))
    return looks


def _coverage(looks: Sequence[Look], side: int) -> np.ndarray:
    """Share of the points in each part of the reference (side 0) or target (side 1) images."""
    counts = np.zeros(GRID)
    for look in looks:
        points = (look.pair.points_ref, look.pair.points_tgt)[side]
        column, row = np.clip((points + 0.5) / look.sizes[side] * GRID[::-1], 0, np.array(GRID[::-1]) - 1).astype(int).T
        np.add.at(counts, (row, column), 1)
    return counts / max(1.0, counts.sum())


def _draw(
    dataset: Dataset, suspects: list[Look], shares: list[np.ndarray], out: Path, count: int, rng: np.random.Generator
) -> None:
    worst = suspects[: (count + 1) // 2]
    others = suspects[len(worst) :]
    random = [others[row] for row in rng.permutation(len(others))[: count - len(worst)]]
    for kind, looks in (("suspect", worst), ("random", random)):
        for number, look in enumerate(looks):
            title = (
                f"{dataset.name(look.pair.reference)}  |  {dataset.name(look.pair.target)}   {len(look.wrong)} points, "
                f"disagreement {look.error:.1f} px, {look.wrong_share:.0%} look wrong"
            )
            images = (str(look.pair.reference), str(look.pair.target))
            points = (look.pair.points_ref, look.pair.points_tgt)
            _save(out / f"{kind}_{number:02d}.png", read_pair_picture(images, points, look.wrong, title))
    _save(out / "coverage.png", coverage_picture(shares, ("reference images", "target images")))


def _save(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as aside:
        Image.fromarray(picture).save(aside, "PNG")
