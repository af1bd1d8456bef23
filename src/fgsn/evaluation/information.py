"""How much one label tells about the other: estimates of the mutual information, in bits.

The plug-in estimate is too high for few points and many labels; the other estimators correct that bias in different
ways. `benchmarks/information_estimators.py` compares them on channels of known information (table in
docs/label_metrics.md). The held-out estimate is the only one that stayed below the truth on repeated points.
All take labels a and b of the same points, (N,) integers from 0.
"""

import numpy as np

DENSE_CELLS = 1 << 20
FOLDS = 5
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
    rng = np.random.default_rng(seed)
    a, b, labels = compact(a, b)
    groups = np.arange(len(a)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(groups) and groups.max() == 0:
        groups = np.arange(len(a))
    count = int(groups.max(initial=0)) + 1
    folds = min(FOLDS, count)
    if folds < 2:
        return 0.0
    fold = rng.permutation(np.arange(count) % folds)[groups]
    gains = np.array([_gains(a, b, labels, fold == number, same_names) for number in range(folds)])
    others = gains.sum(axis=0) - gains
    gain = gains[np.arange(folds), others.argmax(axis=1)].sum() / len(a)
    return max(0.0, float(gain))  # a bound from below of what is never negative


def _gains(a: np.ndarray, b: np.ndarray, labels: int, test: np.ndarray, same_names: bool) -> np.ndarray:
    """Sum over the test points of log2 p(b | a) / p(b), one value per guess and strength of the smoothing.

    p(b) is that of all points: an entropy that is rather too low, and so a gain that is rather too low.
    """
    train = ~test
    seen, seen_counts = np.unique(a[train] * labels + b[train], return_counts=True)
    cells = a[test] * labels + b[test]
    position = np.minimum(np.searchsorted(seen, cells), len(seen) - 1)
    both = np.where(seen[position] == cells, seen_counts[position], 0)
    row = np.bincount(a[train], minlength=labels)
    share = np.bincount(b, minlength=labels) / len(b)
    guesses = [np.ones(len(cells))]
    if same_names:
        agreement, chance = np.mean(a[train] == b[train]), row @ share / row.sum()
        kept = np.clip((agreement - chance) / (1 - chance), 0, 0.99) if chance < 1 else 0.0
        guesses.append(1 - kept + kept * (a[test] == b[test]) / share[b[test]])
    strengths = STRENGTHS[:, None]
    frequency = both / share[b[test]]
    return np.concatenate(
        [np.log2((frequency + strengths * guess) / (row[a[test]] + strengths)).sum(axis=1) for guess in guesses]
    )


def _marginal_entropies(a: np.ndarray, b: np.ndarray) -> float:
    return entropy(np.bincount(a)) + entropy(np.bincount(b))
