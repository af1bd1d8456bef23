"""Label metrics that no function of the image position can win.

A camera that drives the same road twice sees corresponding points at similar image positions, so a blind grid of cells
agrees with itself across seasons. Here every true partner is compared with false partners: matched points of other
places that lie at the same position of their image. A label that depends on the position alone agrees with false
partners as often as with true ones and scores 0. docs/label_metrics.md tells the story.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Integer
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.evaluation.information import chosen_elsewhere, folds_of, half_interval

REACH = 0.005
"""Largest distance of a false partner from the true partner, as a share of the image width."""
MOST_PARTNERS = 8
"""False partners per correspondence; more change nothing."""
MOST_CANDIDATES = 500_000
"""Correspondences from which false partners are taken, at random: the number within reach grows with their density."""
FEWEST_POINTS = 100
"""Correspondences with a false partner below which nothing is reported."""
STRENGTHS = 4.0 ** np.arange(-1, 6)
"""Candidate weights of the prior, in points, of the ratio that the bits are estimated with."""


@dataclass(frozen=True, eq=False)
class FalsePartners:
    """F pairs (correspondence, correspondence of another place whose target lies at the same image position)."""

    true: Int64[np.ndarray, " pairs"]
    """Row of the correspondence."""
    false: Int64[np.ndarray, " pairs"]
    """Row of the correspondence that lends its target point."""

    def within(self, rows: NDArray[np.bool_]) -> "FalsePartners":
        """The pairs whose both ends are among `rows`, (N,) flags of the correspondences."""
        keep = rows[self.true] & rows[self.false]
        return FalsePartners(self.true[keep], self.false[keep])

    def weights(self) -> Float[np.ndarray, " pairs"]:
        """Weight of each pair such that the pairs of a correspondence sum to 1."""
        return 1.0 / np.bincount(self.true)[self.true]


def find_false_partners(
    positions: Float[np.ndarray, "points 2"], places: Integer[np.ndarray, " points"], seed: int = 0
) -> FalsePartners:
    """Find false partners: target points (x, y in image widths) of other places at the same image position.

    Where there are more than `MOST_PARTNERS` or `MOST_CANDIDATES`, the choice depends on the seed.
    """
    rng, pool = np.random.default_rng(seed), np.arange(len(positions))
    if len(pool) > MOST_CANDIDATES:
        pool = np.sort(rng.choice(pool, MOST_CANDIDATES, replace=False))
    tree = KDTree(positions[pool])
    true, false = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(positions), 4096):
        near = tree.query_ball_point(positions[first : first + 4096], REACH)
        counts = np.array([len(rows) for rows in near])
        rows = np.repeat(np.arange(first, first + len(near)), counts)
        others = pool[np.concatenate([np.asarray(some, np.int64) for some in near])]
        # A random order, of which the first few of every correspondence are kept.
        order = np.lexsort((rng.random(len(rows)), rows))
        rows, others = rows[order], others[order]
        elsewhere = places[rows] != places[others]
        rows, others = rows[elsewhere], others[elsewhere]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        true.append(rows[rank < MOST_PARTNERS])
        false.append(others[rank < MOST_PARTNERS])
    return FalsePartners(np.concatenate(true), np.concatenate(false))


def position_controlled_metrics(
    a: Int64[np.ndarray, " points"],
    b: Int64[np.ndarray, " points"],
    places: Integer[np.ndarray, " points"],
    partners: FalsePartners,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Kappa, lift and bits of labels against false partners at the same image position.

    Args:
        a, b: labels in the reference images, and of the same points in the target images.
        places: number of the place of each correspondence.
        partners: of `find_false_partners`; correspondences without one are left out.
        resamples: random halves of the places for the interval of kappa; 0 for none.

    Returns:
        `kappa_position_controlled` = (t - f) / (1 - f), with t the agreement of true and f that of false partners, and
        its `_interval`; `match_lift_position_controlled` = t / f; `information_bits_position_controlled`, the bits by
        which a pair of labels tells true from false partners, held out by place; `points_position_controlled`, the
        correspondences that have a false partner. All None with fewer than `FEWEST_POINTS` of those.
    """
    used = np.unique(partners.true)
    metrics: dict[str, Any] = {
        "kappa_position_controlled": None,
        "kappa_position_controlled_interval": None,
        "match_lift_position_controlled": None,
        "information_bits_position_controlled": None,
        "points_position_controlled": len(used),
    }
    if len(used) < FEWEST_POINTS:
        return metrics
    true, false = _agreement(a, b, partners)
    kappa = _kappa(true, false)

    def kappa_of(here: NDArray[np.bool_]) -> float | None:
        some = partners.within(here)
        return _kappa(*_agreement(a, b, some)) if len(some.true) else None

    return metrics | {
        "kappa_position_controlled": kappa,
        "kappa_position_controlled_interval": half_interval(kappa, places, kappa_of, resamples, seed),
        "match_lift_position_controlled": true / false if false > 0 else None,
        "information_bits_position_controlled": held_out_bits(a, b, places, partners, seed),
    }


def held_out_bits(
    a: Int64[np.ndarray, " points"],
    b: Int64[np.ndarray, " points"],
    places: Integer[np.ndarray, " points"],
    partners: FalsePartners,
    seed: int = 0,
) -> float | None:
    """Bits by which a pair of labels tells a true from a false partner, at places that nothing was fitted on.

    The divergence of the pairs of labels of true partners from those of false ones: 0 if labels are a function of the
    position, and a lower bound of the information that labels share given the position. It is estimated by its
    variational form, E_true[log r] - log E_false[r] (Donsker and Varadhan, 1975), a lower bound for every r. r is the
    smoothed ratio of the counts on four fifths of the places, evaluated on the rest, each fifth in turn; how strongly
    it is smoothed, and towards 1 or towards the ratio of the agreements, is chosen on the other folds. None if
    there are too few places to fit on some and evaluate on others.
    """
    labels = int(max(a.max(), b.max())) + 1
    fold, folds = folds_of(places, seed)
    used = np.unique(partners.true)
    weights = partners.weights()
    cells_true = a[used] * labels + b[used]
    cells_false = a[partners.true] * labels + b[partners.false]
    gains, sizes = [], []
    for number in range(folds):
        test_true, test_false = fold[used] == number, fold[partners.true] == number
        fit_false = ~test_false & (fold[partners.false] != number)
        if not test_true.any() or test_true.all() or not fit_false.any():
            continue
        fit = cells_true[~test_true], cells_false[fit_false], weights[fit_false]
        test = cells_true[test_true], cells_false[test_false], weights[test_false]
        gains.append(_gains(fit, test, labels))
        sizes.append(test_true.sum())
    if len(gains) < 2:
        return None
    chosen = chosen_elsewhere(np.array(gains) * np.array(sizes)[:, None])
    return max(0.0, float(chosen.sum() / np.sum(sizes)))  # a lower bound of what is never negative


def within_image_kappa(
    a: Int64[np.ndarray, " points"],
    b: Int64[np.ndarray, " points"],
    pair: Integer[np.ndarray, " points"],
    seed: int = 0,
) -> float | None:
    """Kappa against other matched points of the same pair of images, anywhere in the image; a blind grid wins this."""
    order = np.lexsort((np.random.default_rng(seed).random(len(pair)), pair))
    first, size = np.unique(pair[order], return_index=True, return_counts=True)[1:]
    # The next point of a random order of the pair's points; the last takes the first.
    following = np.arange(1, len(order) + 1)
    following[first + size - 1] = first
    several = np.repeat(size > 1, size)
    if not several.any():
        return None
    here, other = order[several], order[following[several]]
    return _kappa(float(np.mean(a[here] == b[here])), float(np.mean(a[here] == b[other])))


def blind_grid(
    positions: Float[np.ndarray, "points 2"], clusters: int, height: float | NDArray[np.float64]
) -> Int64[np.ndarray, " points"]:
    """Labels of a labelling that never looks at the image: the cell of a fixed grid of at most `clusters` cells.

    Positions x, y and heights, one for all images or one for each point, are in image widths.
    """
    columns, rows = grid_shape(clusters, float(np.mean(height)))
    column = np.clip((positions[:, 0] * columns).astype(np.int64), 0, columns - 1)
    row = np.clip((positions[:, 1] / height * rows).astype(np.int64), 0, rows - 1)
    return row * columns + column


def grid_shape(clusters: int, height: float) -> tuple[int, int]:
    """Columns and rows of a grid of at most `clusters` cells that are about square in an image of this height."""
    columns = max(1, min(clusters, round((clusters / height) ** 0.5)))
    return columns, max(1, clusters // columns)


def _agreement(a: np.ndarray, b: np.ndarray, partners: FalsePartners) -> tuple[float, float]:
    """How often labels agree with the true and with the false partner, over correspondences that have a false one."""
    used = np.unique(partners.true)
    weights = partners.weights()
    return float(np.mean(a[used] == b[used])), float(weights @ (a[partners.true] == b[partners.false]) / len(used))


def _kappa(true: float, false: float) -> float:
    return (true - false) / (1 - false) if false < 1 else 0.0


def _gains(
    fit: tuple[np.ndarray, np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray, np.ndarray], labels: int
) -> NDArray[np.float64]:
    """The bound on the test points for every prior and strength; sides are cells of true and false pairs, weights."""
    fit_true, fit_false, fit_weights = fit
    test_true, test_false, test_weights = test
    cells = np.unique(np.concatenate([test_true, test_false]))
    counts_true, counts_false = _counts(fit_true, np.ones(len(fit_true)), cells), _counts(fit_false, fit_weights, cells)
    counts_false *= len(fit_true) / fit_weights.sum()
    same = cells // labels == cells % labels
    agree_true = np.mean(fit_true // labels == fit_true % labels)
    agree_false = np.average(fit_false // labels == fit_false % labels, weights=fit_weights)
    ratio = np.where(
        same,
        np.clip(agree_true / max(agree_false, 1e-6), 1e-2, 1e3),
        np.clip((1 - agree_true) / max(1 - agree_false, 1e-6), 1e-2, 1e3),
    )
    place_true, place_false = np.searchsorted(cells, test_true), np.searchsorted(cells, test_false)
    bounds = []
    for prior in (np.ones(len(cells)), ratio):
        for strength in STRENGTHS:
            r = (counts_true + strength * prior) / (counts_false + strength)
            bounds.append(np.mean(np.log2(r[place_true])) - np.log2(np.average(r[place_false], weights=test_weights)))
    return np.array(bounds)


def _counts(of: np.ndarray, weights: np.ndarray, cells: np.ndarray) -> NDArray[np.float64]:
    """Sum of the weights at each of the sorted cells."""
    position = np.minimum(np.searchsorted(cells, of), len(cells) - 1)
    known = cells[position] == of
    return np.bincount(position[known], weights=weights[known], minlength=len(cells)).astype(np.float64)
