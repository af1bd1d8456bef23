"""How much one label tells about the other: estimates of the mutual information, in bits.

The plug-in estimate is too high for few points and many labels; the other estimators correct that bias in different
ways. `benchmarks/information_estimators.py` compares them on channels of known information (table in
docs/label_metrics.md). The held-out estimate is the only one that stayed below the truth on repeated points.
All take labels a and b of the same points, (N,) integers from 0.
"""

from collections.abc import Callable

import numpy as np

DENSE_CELLS = 1 << 20
FOLDS = 5
FEWEST_PLACES = 4
"""Places below which there is no interval: each half needs two, or nothing could be held out."""
CONFIDENCE = 1.96
# Strengths of the smoothing that the held-out estimate chooses from, in points.
STRENGTHS = 4.0 ** np.arange(-1, 9)


def entropy(counts: np.ndarray) -> float:
    """Plug-in entropy in bits of a table of counts."""
    counts = counts[counts > 0].astype(float)
    total = counts.sum()
    return float(np.log2(total) - counts @ np.log2(counts) / total) if len(counts) > 1 else 0.0


def compact(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Renumber the labels that occur on either side from 0; also returns their number."""
    values, numbers = np.unique(np.concatenate([a, b]), return_inverse=True)
    return numbers[: len(a)], numbers[len(a) :], len(values)


def joint_counts(a: np.ndarray, b: np.ndarray, labels: int) -> np.ndarray:
    """How often each pair of labels occurs, in no particular order (1-D; zeros possible)."""
    cells = a.astype(np.int64) * labels + b
    if labels**2 <= DENSE_CELLS:
        return np.bincount(cells)
    return np.unique(cells, return_counts=True)[1]


def plug_in(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of the table of counts: too high for few points."""
    a, b, labels = compact(a, b)
    return _marginal_entropies(a, b) - entropy(joint_counts(a, b, labels))


def permutation_bias(a: np.ndarray, b: np.ndarray, seed: int = 0, permutations: int = 10) -> float:
    """Bias of the plug-in estimate: its value when b is shuffled over the points.

    The corrected estimate is too low for labels that share much: shuffled, they spread over more cells.
    A few permutations are enough, since the estimate hardly varies between them.
    """
    rng = np.random.default_rng(seed)
    a, b, labels = compact(a, b)
    joint = [entropy(joint_counts(a, rng.permutation(b), labels)) for _ in range(permutations)]
    return _marginal_entropies(a, b) - float(np.mean(joint))


def held_out(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, seed: int = 0, same_names: bool = True
) -> float:
    """Bits by which a improves the prediction of b, at places that the prediction was not fitted on.

    p(b | a) is counted on four fifths of the groups (places), smoothed, and scored on the rest, each fifth in turn.
    Smoothing mixes in a guess for rare labels: b as often as it comes, or (same_names) b the same as a as often as
    the two agree. Which guess, and how many points it is worth, is what does best on the other folds. Any such
    prediction scores below the truth on average, so it is a conservative estimate, and the only one here that
    points which lie together, and so repeat each other, do not push up.

    Args:
        groups: (N,) the place of each point; None, or a single place, splits the points themselves.
        seed: of the split into folds.
        same_names: a and b name the same things with the same numbers.
    """
    a, b, labels = compact(a, b)
    if groups is None or len(np.unique(groups)) == 1:
        groups = np.arange(len(a))
    fold, folds = folds_of(groups, seed)
    if folds < 2:
        return 0.0
    gains = np.array([_gains(a, b, labels, fold == number, same_names) for number in range(folds)])
    return max(0.0, float(chosen_elsewhere(gains).sum() / len(a)))  # a bound from below of what is never negative


def folds_of(groups: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """A random fold (N,) for every point, the same for all of a group (N,), and the number of folds: up to `FOLDS`."""
    names, group = np.unique(groups, return_inverse=True)
    folds = min(FOLDS, len(names))
    return np.random.default_rng(seed).permutation(np.arange(len(names)) % max(folds, 1))[group], folds


def chosen_elsewhere(gains: np.ndarray) -> np.ndarray:
    """Of (folds, choices), the gain in each fold of the choice that is best on the other folds."""
    others = gains.sum(axis=0) - gains
    return gains[np.arange(len(gains)), others.argmax(axis=1)]


def half_interval(
    estimate: float, places: np.ndarray, statistic: Callable[[np.ndarray], float | None], resamples: int, seed: int
) -> list[float] | None:
    """A 95 % interval from the spread of an estimate over random halves of the places (delete-half jackknife).

    Halves, not draws with replacement: a place drawn twice would be in both the training and the test fold. `statistic`
    gives the estimate from the points of a mask (N,), None if it cannot be made from them.

    Returns:
        [low, high], or None with fewer than two resamples or `FEWEST_PLACES` places.
    """
    present = np.unique(places)
    if resamples < 2 or len(present) < FEWEST_PLACES:
        return None
    rng, half = np.random.default_rng(seed), len(present) // 2
    values = [statistic(np.isin(places, rng.choice(present, half, replace=False))) for _ in range(resamples)]
    # The spread over parts of size m of n places is sqrt((n - m) / m) times the standard error of the whole.
    spread = np.std([value for value in values if value is not None])
    error = float(spread * (half / (len(present) - half)) ** 0.5)
    return [estimate - CONFIDENCE * error, estimate + CONFIDENCE * error]


def _gains(a: np.ndarray, b: np.ndarray, labels: int, test: np.ndarray, same_names: bool) -> np.ndarray:
    """Sum over the test points of log2 p(b | a) / p(b), one value per guess and strength of the smoothing.

    p(b) is that of all points: an entropy that is rather too low, and so a gain that is rather too low.
    """
    train, cells = ~test, a * labels + b
    both = _frequency(cells[train], cells[test], labels**2)
    row = np.bincount(a[train], minlength=labels)
    share = np.bincount(b, minlength=labels) / len(b)
    guesses = [np.ones(len(both))]
    if same_names:
        agreement, chance = np.mean(a[train] == b[train]), row @ share / row.sum()
        kept = np.clip((agreement - chance) / (1 - chance), 0, 0.99) if chance < 1 else 0.0
        guesses.append(1 - kept + kept * (a[test] == b[test]) / share[b[test]])
    strengths = STRENGTHS[:, None]
    frequency = both / share[b[test]]
    return np.concatenate(
        [np.log2((frequency + strengths * guess) / (row[a[test]] + strengths)).sum(axis=1) for guess in guesses]
    )


def _frequency(cells: np.ndarray, wanted: np.ndarray, most: int) -> np.ndarray:
    """How often each of the `wanted` numbers, below `most`, is among `cells`."""
    if most <= DENSE_CELLS:
        return np.bincount(cells, minlength=most)[wanted]
    seen, counts = np.unique(cells, return_counts=True)
    position = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    return np.where(seen[position] == wanted, counts[position], 0)


def _marginal_entropies(a: np.ndarray, b: np.ndarray) -> float:
    return entropy(np.bincount(a)) + entropy(np.bincount(b))
