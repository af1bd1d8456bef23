"""The confusion matrix of labels across conditions, with rows and columns ordered by similarity."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from fgsn.inference.correspondence_labels import PointLabels
from fgsn.inference.similar_colours import distances
from fgsn.report.pictures import hexadecimal
from fgsn.report.sources import ReportSources

SHOWN = 150
"""Number of labels in the matrix, those with the most points."""


def confusion(sources: ReportSources, points: PointLabels) -> dict[str, Any]:
    """The data from which the page draws the confusion matrix.

    Returns:
        `names` and `colours` of the labels, in order; `tables` by condition ('all' first): rows of the matrix as bytes
        in base64, normalised so that 255 is all points of a row; `points` by condition: the number of points per row.
    """
    model, dataset = sources.model, sources.dataset
    assert model is not None
    assert dataset is not None
    count = model.clusters
    both = np.bincount(points.reference, minlength=count) + np.bincount(points.target, minlength=count)
    shown = np.sort(np.argsort(-both, kind="stable")[: min(SHOWN, np.count_nonzero(both))])
    conditions = np.array([dataset.condition(pair.target) for pair in sources.pairs])[points.pair]
    tables = {"all": _table(points, shown, count, np.ones(len(points.pair), bool))}
    if len(names := np.unique(conditions)) > 1:
        tables |= {str(name): _table(points, shown, count, conditions == name) for name in names}
    order = by_similarity(
        model.codebook.centroids.cpu().numpy()[shown] if model.codebook is not None else _profiles(tables["all"])
    )
    names = model.classes or [str(number) for number in range(count)]
    return {
        "names": [names[label] for label in shown[order]],
        "colours": [hexadecimal(model.palette[label]) for label in shown[order]],
        "tables": {
            name: _packed(table[np.ix_(order, order)], table[order].sum(axis=1)) for name, table in tables.items()
        },
        "points": {name: table[order].sum(axis=1).tolist() for name, table in tables.items()},
    }


def by_similarity(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order (N,) of rows (N, D) in which similar ones are neighbours: the leaves of a hierarchical clustering."""
    if len(rows) < 3:
        return np.arange(len(rows))
    apart = squareform(distances(rows) * (1 - np.eye(len(rows))), checks=False)
    return leaves_list(linkage(apart, "average", optimal_ordering=True)).astype(np.int64)


def _table(points: PointLabels, shown: NDArray[np.int64], count: int, here: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Counts of label pairs: rows are the shown labels of the reference, columns those of the target."""
    place = np.full(count, -1)
    place[shown] = np.arange(len(shown))
    row, column = place[points.reference[here]], place[points.target[here]]
    known = (row >= 0) & (column >= 0)
    table = np.zeros((len(shown), len(shown)), np.int64)
    np.add.at(table, (row[known], column[known]), 1)
    return table


def _profiles(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Features for similarity if there are no centroids: normalised confusion counts of each label."""
    both = (table + table.T).astype(np.float64)
    return both / np.maximum(both.sum(axis=1, keepdims=True), 1)


def _packed(table: NDArray[np.int64], totals: NDArray[np.int64]) -> str:
    shares = np.round(255 * table / np.maximum(totals, 1)[:, None]).astype(np.uint8)
    return base64.b64encode(shares.tobytes()).decode("ascii")
