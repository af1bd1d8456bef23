"""How much one label tells about the other: estimates of the mutual information, in bits.

The plain estimate is too high when the points are few and the labels many, so each of the others removes that bias in
a way of its own. `benchmarks/information_estimators.py` measures them on channels of known information, and
docs/label_figures.md shows the table. All of them take labels a and b, (N,) integers from 0, of the same points.
"""

import numpy as np

DENSE_CELLS = 1 << 20
FOLDS = 5
# Strengths of the smoothing that the held-out estimate chooses from, in points.
STRENGTHS = 4.0 ** np.arange(-1, 7)


def entropy(counts: np.ndarray) -> float:
    """Plain entropy in bits of a table of counts."""
    counts = counts[counts > 0].astype(float)
    total = counts.sum()
    return float(np.log2(total) - counts @ np.log2(counts) / total) if len(counts) > 1 else 0.0


def compact(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Number the labels that occur from 0, each side for itself; the number of columns comes along."""
    a = np.unique(a, return_inverse=True)[1]
    values, b = np.unique(b, return_inverse=True)
    return a, b, len(values)


def joint_counts(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    """How often each pair of labels occurs, in no particular order (1-D; zeros possible)."""
    cells = a.astype(np.int64) * columns + b
    if int(a.max(initial=0) + 1) * columns <= DENSE_CELLS:
        return np.bincount(cells)
    return np.unique(cells, return_counts=True)[1]


def plain(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of the table of counts as it is: too high for few points."""
    a, b, columns = compact(a, b)
    return _marginal_entropies(a, b) - entropy(joint_counts(a, b, columns))


def permutation_floor(a: np.ndarray, b: np.ndarray, seed: int = 0, permutations: int = 10) -> float:
    """What the plain estimate reads when b is shuffled over the points, so that nothing is shared: its bias.

    The mean over a few permutations is enough: the estimate hardly varies between them.
    """
    rng = np.random.default_rng(seed)
    a, b, columns = compact(a, b)
    joint = [entropy(joint_counts(a, rng.permutation(b), columns)) for _ in range(permutations)]
    return _marginal_entropies(a, b) - float(np.mean(joint))


def permutation_corrected(a: np.ndarray, b: np.ndarray, seed: int = 0, permutations: int = 10) -> float:
    """Plain estimate minus its mean over permutations.

    Right for independent labels, and too low the more the labels share, since shuffled labels spread over more cells
    than matching ones: a conservative estimate. Noise may push it slightly below 0.
    """
    return plain(a, b) - permutation_floor(a, b, seed, permutations)


def held_out(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> float:
    """How many bits better b is predicted from a than without it, at places that the prediction has not seen.

    p(b | a) is counted on four fifths of the groups (places), smoothed towards p(b), and scored on the rest, each fifth
    in turn. The strength of the smoothing is the one that is best on the other folds. On average never above the truth.

    Args:
        groups: (N,) the place of each point; None, or a single place, splits the points themselves.
        seed: of the split into folds.
    """
    rng = np.random.default_rng(seed)
    a, b, columns = compact(a, b)
    groups = np.arange(len(a)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(groups) and groups.max() == 0:
        groups = np.arange(len(a))
    count = int(groups.max(initial=0)) + 1
    folds = min(FOLDS, count)
    if folds < 2:
        return 0.0
    fold = rng.permutation(np.arange(count) % folds)[groups]
    gains = np.array([_gains(a, b, columns, fold == number) for number in range(folds)])
    others = gains.sum(axis=0) - gains
    return float(gains[np.arange(folds), others.argmax(axis=1)].sum() / len(a))


def _gains(a: np.ndarray, b: np.ndarray, columns: int, test: np.ndarray) -> np.ndarray:
    """Sum over the test points of log2 p(b | a) / p(b), one value per strength of the smoothing."""
    train = ~test
    seen, seen_counts = np.unique(a[train].astype(np.int64) * columns + b[train], return_counts=True)
    cells = a[test].astype(np.int64) * columns + b[test]
    position = np.minimum(np.searchsorted(seen, cells), len(seen) - 1)
    both = np.where(seen[position] == cells, seen_counts[position], 0)
    row = np.bincount(a[train], minlength=int(a.max()) + 1)[a[test]]
    column = np.bincount(b[train], minlength=columns)[b[test]]
    chance = (column + 0.5) / (train.sum() + 0.5 * columns)
    ratio = (both / chance + STRENGTHS[:, None]) / (row + STRENGTHS[:, None])
    return np.log2(ratio).sum(axis=1)


def _marginal_entropies(a: np.ndarray, b: np.ndarray) -> float:
    return entropy(np.bincount(a)) + entropy(np.bincount(b))
