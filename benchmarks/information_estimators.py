"""Bias and error of mutual-information estimators, on channels of known information.

    python benchmarks/information_estimators.py             # about ten minutes on one core
    python benchmarks/information_estimators.py --quick     # a small study, writes nothing
    python benchmarks/information_estimators.py --document  # only the tables, from the CSV file

Writes benchmarks/information_estimators.csv, one row per channel, number of labels, number of points, arrangement of
the points, and estimator; and the tables between the markers in docs/label_metrics.md.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import digamma

from fgsn.evaluation import information

HERE = Path(__file__).parent
TABLE = HERE / "information_estimators.csv"
DOCUMENT = HERE.parent / "docs" / "label_metrics.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"

LABELS = (20, 100, 200, 1000)
POINTS = (1_000, 3_000, 18_500, 100_000)
QUICK = (20, 200), (1_000, 18_500)
POINTS_PER_REGION, REGIONS_PER_PLACE, FRESH = 20, 25, 0.1

Labels = tuple[np.ndarray, np.ndarray, np.ndarray]


# Channels: the joint probability of the two labels, (K, K).


def uniform(labels: int) -> np.ndarray:
    return np.full(labels, 1 / labels)


def zipf(labels: int) -> np.ndarray:
    weights = 1 / np.arange(1, labels + 1)
    return weights / weights.sum()


def noisy(marginal: np.ndarray, kept: float) -> np.ndarray:
    """The label is kept with probability `kept`, otherwise drawn again."""
    return kept * np.diag(marginal) + (1 - kept) * np.outer(marginal, marginal)


def blocks(labels: int, kept: float, block: int = 5) -> np.ndarray:
    """The label is kept or confused with the others of its block; with probability 0.1 it is random."""
    number = np.arange(labels) // block
    inside = (number[:, None] == number) / block / labels
    return 0.9 * (kept * np.eye(labels) / labels + (1 - kept) * inside) + 0.1 / labels**2


CHANNELS: dict[str, Callable[[int], np.ndarray]] = {
    "independent": lambda labels: noisy(uniform(labels), 0.0),
    "independent, Zipf": lambda labels: noisy(zipf(labels), 0.0),
    "identical": lambda labels: noisy(uniform(labels), 1.0),
    "kept 80 %": lambda labels: noisy(uniform(labels), 0.8),
    "kept 50 %": lambda labels: noisy(uniform(labels), 0.5),
    "kept 20 %": lambda labels: noisy(uniform(labels), 0.2),
    "kept 50 %, Zipf": lambda labels: noisy(zipf(labels), 0.5),
    "blocks, kept 50 %": lambda labels: blocks(labels, 0.5),
    "blocks, kept 0 %": lambda labels: blocks(labels, 0.0),
}


def truth(joint: np.ndarray) -> float:
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / independent[some])).sum())


def draw(joint: np.ndarray, count: int, clustered: bool, rng: np.random.Generator) -> Labels:
    """Labels a and b and the place of `count` points.

    Clustered: each region (20 neighbouring points of one place, as on one wall) draws one pair of labels, which 90 %
    of its points have. The distribution of a single point, and so the true information, is the same in both cases.
    """
    labels = len(joint)
    cumulative = np.cumsum(joint.ravel())
    cumulative /= cumulative[-1]
    cells = np.searchsorted(cumulative, rng.random(count), side="right")
    region = np.arange(count) // POINTS_PER_REGION
    if clustered:
        common = np.searchsorted(cumulative, rng.random(region[-1] + 1), side="right")[region]
        cells = np.where(rng.random(count) < FRESH, cells, common)
    return cells // labels, cells % labels, region // REGIONS_PER_PLACE


# Estimators.


def chao_shen(counts: np.ndarray) -> float:
    """Entropy, coverage-adjusted (Chao and Shen 2003)."""
    counts = counts[counts > 0].astype(float)
    total, singles = counts.sum(), np.count_nonzero(counts == 1)
    coverage = 1 - min(singles, total - 1) / total
    share = coverage * counts / total
    return float(-(share * np.log2(share) / (1 - (1 - share) ** total)).sum())


def grassberger(counts: np.ndarray) -> float:
    """Entropy after Grassberger (2003)."""
    counts = counts[counts > 0].astype(float)
    total = counts.sum()
    signs = np.where(counts % 2 == 0, 1.0, -1.0)
    g = digamma(counts) + 0.5 * signs * (digamma((counts + 1) / 2) - digamma(counts / 2))
    return float((np.log(total) - counts @ g / total) / np.log(2))


def from_entropies(entropy: Callable[[np.ndarray], float], a: np.ndarray, b: np.ndarray) -> float:
    a, b, columns = information.compact(a, b)
    return entropy(np.bincount(a)) + entropy(np.bincount(b)) - entropy(information.joint_counts(a, b, columns))


def miller_madow(counts: np.ndarray) -> float:
    return information.entropy(counts) + (np.count_nonzero(counts) - 1) / (2 * counts.sum() * np.log(2))


def estimates(points: Labels) -> Iterator[tuple[str, float]]:
    a, b, places = points
    plain, floor = information.plug_in(a, b), information.permutation_bias(a, b)
    largest = min(information.entropy(np.bincount(a)), information.entropy(np.bincount(b)))
    yield "plain", plain
    yield "Miller-Madow", from_entropies(miller_madow, a, b)
    yield "permutation", plain - floor
    yield "permutation, rescaled", largest * (plain - floor) / (largest - floor)
    yield "Chao-Shen", from_entropies(chao_shen, a, b)
    yield "Grassberger", from_entropies(grassberger, a, b)
    yield "held-out, names unknown", information.held_out(a, b, places, same_names=False)
    yield "held-out", information.held_out(a, b, places)


def study(trials: int, labels: tuple[int, ...], points: tuple[int, ...]) -> Iterator[dict[str, object]]:
    for clustered in (False, True):
        for count in points:
            for number in labels:
                for name, channel in CHANNELS.items():
                    joint = channel(number)
                    errors = defaultdict(list)
                    for trial in range(trials):
                        sample = draw(joint, count, clustered, np.random.default_rng([trial, count, number]))
                        for estimator, value in estimates(sample):
                            errors[estimator].append(value - truth(joint))
                    for estimator, error in errors.items():
                        yield {
                            "points lie": "in regions" if clustered else "alone",
                            "points": count,
                            "labels": number,
                            "channel": name,
                            "truth": round(truth(joint), 4),
                            "estimator": estimator,
                            "bias": round(float(np.mean(error)), 4),
                            "rmse": round(float(np.sqrt(np.mean(np.square(error)))), 4),
                        }


def tables(rows: list[dict[str, str]]) -> str:
    """The study as three small Markdown tables."""
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    alone = [row for row in rows if row["points lie"] == "alone"]
    regions = [row for row in rows if row["points lie"] == "in regions"]
    lines = [
        "Over all channels, numbers of labels and of points: root mean square error, and the largest mean error",
        "upwards (how much it claims that is not there), in bits.",
        "",
        "| estimate | points alone: error | too high by up to | points in regions: error | too high by up to |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in names:
        cells = [f"{value:.2f}" for part in (alone, regions) for value in summary(part, name)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for title, part in (("alone", alone), ("in regions", regions)):
        lines += ["", f"Mean error in bits at K = 200 and 18,500 points that lie {title}:", ""]
        shown = [row for row in part if row["labels"] == "200" and row["points"] == "18500"]
        channels = list(dict.fromkeys(row["channel"] for row in shown))
        lines += ["| channel | truth | " + " | ".join(names) + " |", "| --- |" + " --- |" * (len(names) + 1)]
        for channel in channels:
            here = {row["estimator"]: row for row in shown if row["channel"] == channel}
            bits = abs(float(here["plain"]["truth"]))
            cells = [f"{float(here[name]['bias']):+.2f}" for name in names]
            lines.append(f"| {channel} | {bits:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: list[dict[str, str]], estimator: str) -> tuple[float, float]:
    mine = [row for row in rows if row["estimator"] == estimator]
    error = float(np.sqrt(np.mean([float(row["rmse"]) ** 2 for row in mine])))
    return error, max(float(row["bias"]) for row in mine)


def write_document() -> None:
    with TABLE.open(newline="", encoding="utf-8") as file:
        table = tables(list(csv.DictReader(file)))
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--document", action="store_true")
    arguments = parser.parse_args()
    if not arguments.document:
        rows = []
        for row in study(arguments.trials, *(QUICK if arguments.quick else (LABELS, POINTS))):
            rows.append(row)
            print(*row.values(), sep="\t", flush=True)
        if arguments.quick:
            return
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    write_document()


if __name__ == "__main__":
    main()
