"""Check the correspondences of a data set against their neighbours, and draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size, read_image
from fgsn.data.pair_consistency import outlier_mask, prediction_errors
from fgsn.data.pair_picture import coverage_picture, pair_picture
from fgsn.errors import FgsnError
from fgsn.files import atomic_write
from fgsn.progress import tracked

MOST_PAIRS = 500
"""Pairs to check, spread evenly over the data set."""
MANY_WRONG = 0.1
"""A pair with a larger share of outliers is reported."""
GRID = (12, 16)
"""Rows and columns of the coverage map."""


@dataclass(frozen=True, eq=False)
class CheckedPair:
    """One pair and its outliers."""

    file: Path
    pair: Correspondences
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Width and height of the reference and of the target image."""
    error: float
    """Median distance of its points from where their neighbours predict them, in pixels; NaN for few points."""
    wrong: np.ndarray
    """(N,) which points one wrong."""

    @property
    def wrong_share(self) -> float:
        """Share of the points that one wrong."""
        return float(self.wrong.mean()) if len(self.wrong) else 0.0


def check_correspondences(
    dataset: Dataset, pictures: Path | None, drawn: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Estimate the errors of a data set's correspondences, report pairs with many outliers, and draw pairs.

    Into the folder `pictures`, `drawn` pairs are drawn: half of them those with the most outliers, the others by the
    seed. None draws nothing. Returns metrics, and a line for each pair with many outliers.
    """
    checked = _checked_pairs(dataset)
    suspects = sorted(checked, key=lambda one: -one.wrong_share)
    lines = [
        f"{one.file}: {one.wrong_share:.0%} of {len(one.wrong)} points do not move like the points around them; "
        "see it with --pictures DIR"
        for one in suspects
        if one.wrong_share > MANY_WRONG
    ]
    errors = [one.error for one in checked if np.isfinite(one.error)]
    wrong = sum(int(one.wrong.sum()) for one in checked) / max(1, sum(len(one.wrong) for one in checked))
    shares = [_coverage(checked, side) for side in (0, 1)]
    metrics = {
        "disagreement_px": round(float(np.median(errors)), 2) if errors else None,
        "wrong_looking": round(wrong, 4),
        "covered_reference": round(float((shares[0] > 0).mean()), 2),
        "covered_target": round(float((shares[1] > 0).mean()), 2),
    }
    if pictures is not None and checked:
        metrics["pictures"] = str(pictures)
        _draw(dataset, suspects, shares, pictures, drawn, seed)
    return metrics, lines


def _checked_pairs(dataset: Dataset) -> list[CheckedPair]:
    files = dataset.correspondence_files()
    chosen = np.unique(np.linspace(0, len(files) - 1, min(MOST_PAIRS, len(files))).round().astype(int))
    checked = []
    for row in tracked(chosen, "checking pairs", len(chosen)):
        try:
            pair = read_correspondences(files[row], dataset.images)
            sizes = image_size(pair.reference), image_size(pair.target)
        except FgsnError:
            continue  # reported by the other checks
        off, _ = prediction_errors(pair.points_ref, pair.points_tgt)
        error = float(np.median(off)) if np.isfinite(off).any() else float("nan")
        wrong = outlier_mask(pair.points_ref, pair.points_tgt, sizes[1])
        checked.append(CheckedPair(files[row], pair, sizes, error, wrong))
    return checked


def _coverage(checked: Sequence[CheckedPair], side: int) -> np.ndarray:
    """Share of the points in each cell of the reference (side 0) or target (side 1) images."""
    counts = np.zeros(GRID)
    for one in checked:
        points = (one.pair.points_ref, one.pair.points_tgt)[side]
        column, row = np.clip((points + 0.5) / one.sizes[side] * GRID[::-1], 0, np.array(GRID[::-1]) - 1).astype(int).T
        np.add.at(counts, (row, column), 1)
    return counts / max(1.0, counts.sum())


def _draw(
    dataset: Dataset, suspects: list[CheckedPair], shares: list[np.ndarray], out: Path, count: int, seed: int
) -> None:
    worst = suspects[: (count + 1) // 2]
    others = suspects[len(worst) :]
    order = np.random.default_rng(seed).permutation(len(others))
    random = [others[row] for row in order[: count - len(worst)]]
    for kind, checked in (("suspect", worst), ("random", random)):
        for number, one in enumerate(checked):
            title = (
                f"{dataset.name(one.pair.reference)}  |  {dataset.name(one.pair.target)}   {len(one.wrong)} points, "
                f"disagreement {one.error:.1f} px, {one.wrong_share:.0%} outliers"
            )
            images = [read_image(file) for file in (one.pair.reference, one.pair.target)]
            points = (one.pair.points_ref, one.pair.points_tgt)
            _save(out / f"{kind}_{number:02d}.png", pair_picture(images, points, one.wrong, title))
    _save(out / "coverage.png", coverage_picture(shares, ("reference images", "target images")))


def _save(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as aside:
        Image.fromarray(picture).save(aside, "PNG")
