"""Write docs/experiments.md: small versions of the paper's experiments on the synthetic town, and its results.

    python benchmarks/experiments.py [--sweep SWEEP ... --base BASE]

SWEEP: folders of `fgsn sweep configs/small/paper.yaml`, one per seed. BASE: the folder of `fgsn evaluate` on the base
network. Their results are copied to docs/results, with the controls of a blind grid for each K; the page is made from
there. Results of versions without position-controlled metrics give a page with the same-view metrics.
"""

import argparse
import itertools
import shutil
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from fgsn.files import read_json, write_json, write_text

DOCS = Path(__file__).parent.parent / "docs"
LABELS = (20, 100, 200, 1000)
CORR = ("without_corr", "with_corr")
CLUSTERED = ("once", "again")
STARTS = ("seg", "scratch")
YES_NO = {"with_corr": "yes", "without_corr": "no"}
PAPER_ROWS = {
    (20, "with_corr", "again", "seg"): "FGSN 20",
    (100, "with_corr", "again", "seg"): "FGSN 100",
    (200, "with_corr", "again", "seg"): "FGSN 200",
    (1000, "with_corr", "again", "seg"): "FGSN 1000",
    (100, "with_corr", "once", "seg"): "FGSN 100, clustered once",
    (200, "without_corr", "again", "seg"): "FGSN 200, E, no L_corr",
    (1000, "without_corr", "again", "seg"): "FGSN 1000, E, no L_corr",
    (200, "with_corr", "again", "scratch"): "FGSN 200, ImageNet start",
}
"""Our runs and the corresponding rows of the paper's table."""

COLLAPSED = 0.5
"""Same-view bits below which labels have collapsed: far fewer than the classes of the base network."""


class Metrics(NamedTuple):
    """Keys of the metrics that the page compares, and what they are called."""

    bits: str
    kappa: str
    lift: str
    words: str


POSITION_CONTROLLED = Metrics(
    "information_bits_position_controlled",
    "kappa_position_controlled",
    "match_lift_position_controlled",
    "Bits, kappa and lift are position-controlled: a labelling that depends on the image position alone scores 0 bits, "
    "kappa 0, lift 1.",
)
SAME_VIEW = Metrics(
    "information_bits_same_view",
    "kappa",
    "match_lift",
    "Bits, kappa and lift are same-view metrics, which a blind grid can win: these runs are older than the "
    "position-controlled metrics.",
)


class Key(NamedTuple):
    """Position of a run in the grid."""

    clusters: int
    corr: str
    clustered: str
    start: str


class Results:
    """The rows of several sweeps over one grid."""

    def __init__(self, sweeps: Sequence[dict[str, Any]]) -> None:
        self.rows: dict[Key, list[dict[str, Any]]] = {}
        for row in (row for one in sweeps for row in one["runs"].values()):
            key = Key(row["clusters"], row["corr_weight"], row["recluster_every"], row["init"])
            self.rows.setdefault(key, []).append(row)
        every = [row for rows in self.rows.values() for row in rows]
        self.metrics = POSITION_CONTROLLED if all(POSITION_CONTROLLED.kappa in row for row in every) else SAME_VIEW

    def mean(self, key: tuple[Any, ...], metric: str) -> float:
        return fmean(row[metric] for row in self.rows[Key(*key)])

    def noise(self, metric: str, start: str) -> float | None:
        """Standard deviation between seeds, the median over all runs from this start; None with one seed.

        The median, because a single run whose labels collapse would dominate the mean.
        """
        several = [
            stdev(row[metric] for row in rows)
            for key, rows in self.rows.items()
            if len(rows) > 1 and key.start == start
        ]
        return median(several) if several else None

    def differences(self, axis: str, first: Any, second: Any, metric: str, **fixed: Any) -> list[float]:
        """First minus second on one axis, for every setting of the others."""
        keys = [key for key in self.rows if all(getattr(key, name) == value for name, value in fixed.items())]
        return [
            self.mean(key, metric) - self.mean(key._replace(**{axis: second}), metric)
            for key in keys
            if getattr(key, axis) == first
        ]


def grid_table(results: Results, base: dict[str, Any], grids: dict[str, dict[str, Any]]) -> str:
    """Table of all runs, from both starts, below the blind grids and the base network's classes."""
    metrics = results.metrics
    columns = (
        (metrics.kappa, "{:.3f}"),
        (metrics.lift, "{:.1f}"),
        (metrics.bits, "{:.2f}"),
        ("clusters_used", "{:.0f}"),
    )
    lines = [
        "| K | L_corr | clustered | seg: kappa | lift | bits | used | scratch: kappa | lift | bits | used |",
        "| --- " * 11 + "|",
    ]
    controls = {f"{k}, blind grid": row for k, row in grids.items()} | {"base classes": base}
    for name, row in controls.items():
        cells = [form.format(row[metric]) for metric, form in columns]
        lines.append(f"| {' | '.join([name, '', '', *cells, '', '', '', ''])} |")
    for setting in itertools.product(LABELS, CORR, CLUSTERED):
        cells = [str(setting[0]), YES_NO[setting[1]], setting[2]]
        for start in STARTS:
            key = (*setting, start)
            cells += [form.format(results.mean(key, metric)) for metric, form in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def paper_table(results: Results, paper: dict[str, Any], base: dict[str, Any]) -> str:
    """The paper's rows, and our metrics of the same question."""
    kind = results.metrics
    lines = [f"| labels | {' | '.join(paper['columns'])} | our kappa | our bits |", "| --- " * 8 + "|"]
    ours = {name: key for key, name in PAPER_ROWS.items()}
    for name, cells in paper["rows"].items():
        if key := ours.get(name):
            metrics = [f"{results.mean(key, kind.kappa):.3f}", f"{results.mean(key, kind.bits):.2f}"]
            metrics[1] += " (scratch)" if key[3] == "scratch" else ""
        elif name == "19 classes":
            metrics = [f"{base[kind.kappa]:.3f}", f"{base[kind.bits]:.2f}"]
        else:
            metrics = ["", ""]
        lines.append(f"| {' | '.join([name, *cells, *metrics])} |")
    return "\n".join(lines)


def contrast_table(results: Results) -> str:
    """Effect of each choice: mean difference over the settings of the others, and how often it is positive."""
    lines = [
        "| choice | runs compared | kappa | bits | better in kappa | better in bits |",
        "| --- " * 6 + "|",
    ]
    choices: list[tuple[str, Callable[[str], list[float]]]] = [
        ("start: seg − scratch", lambda f: results.differences("start", "seg", "scratch", f)),
        *(
            (f"start, clustered {how}", lambda f, how=how: results.differences("start", *STARTS, f, clustered=how))
            for how in CLUSTERED
        ),
        ("L_corr: with − without", lambda f: results.differences("corr", "with_corr", "without_corr", f)),
        ("L_corr, start seg", lambda f: results.differences("corr", "with_corr", "without_corr", f, start="seg")),
        *(
            (
                f"L_corr, start seg, K = {k}",
                lambda f, k=k: results.differences("corr", "with_corr", "without_corr", f, start="seg", clusters=k),
            )
            for k in LABELS
        ),
        ("clustered once − again, seg", lambda f: results.differences("clustered", "once", "again", f, start="seg")),
        (
            "clustered once − again, scratch",
            lambda f: results.differences("clustered", "once", "again", f, start="scratch"),
        ),
        *(
            (f"K: {k} − 200, start seg", lambda f, k=k: results.differences("clusters", k, 200, f, start="seg"))
            for k in (20, 100, 1000)
        ),
    ]
    for name, differences in choices:
        bits, kappa = differences(results.metrics.bits), differences(results.metrics.kappa)
        wins = [f"{sum(value > 0 for value in values)} of {len(values)}" for values in (kappa, bits)]
        lines.append(f"| {name} | {len(bits)} | {fmean(kappa):+.3f} | {fmean(bits):+.2f} | {wins[0]} | {wins[1]} |")
    return "\n".join(lines)


def findings(results: Results) -> str:
    """Findings of the paper, and whether these runs reproduce them, by the numbers alone.

    Each finding is two statements. Both true: seen; one true: partly seen.
    """

    metrics = results.metrics

    def value(clusters: int, metric: str) -> float:
        return fmean(results.mean((clusters, "with_corr", how, "seg"), metric) for how in CLUSTERED)

    def series(metric: str, form: str) -> str:
        return ", ".join(f"{form.format(value(k, metric))} at {k}" for k in LABELS)

    def effect(axis: str, first: str, second: str, metric: str = metrics.bits, **fixed: Any) -> float:
        return fmean(results.differences(axis, first, second, metric, **fixed))

    chance = 2 * (results.noise(metrics.bits, "seg") or 0.0)
    bits = {k: value(k, metrics.bits) for k in LABELS}
    best = max(bits, key=lambda k: bits[k])
    gains = {
        (metric, how): [
            effect("corr", "with_corr", "without_corr", metric, start="seg", clustered=how, clusters=k) for k in LABELS
        ]
        for metric in (metrics.bits, metrics.kappa)
        for how in CLUSTERED
    }

    def rise(metric: str) -> bool:
        return all(max(gains[metric, how]) == gains[metric, how][-1] > gains[metric, how][0] for how in CLUSTERED)

    def listed(metric: str, form: str) -> str:
        return ", ".join(
            f"{' '.join(form.format(gain) for gain in gains[metric, how])} clustered {how}" for how in CLUSTERED
        )

    once = {start: effect("clustered", "once", "again", start=start) for start in STARTS}
    start = {how: effect("start", "seg", "scratch", clustered=how) for how in CLUSTERED}
    corr = {how: effect("corr", "with_corr", "without_corr", clustered=how) for how in CLUSTERED}
    verdicts = [
        (
            "100 to 200 labels are the optimum",
            [best in (100, 200), max(bits[100], bits[200]) - max(bits[20], bits[1000]) > chance],
            f"From seg, with L_corr, bits are {series(metrics.bits, '{:.2f}')}: the most at {best}. "
            f"Kappa is {series(metrics.kappa, '{:.3f}')}: it alone cannot determine the best number of labels.",
        ),
        (
            "clustering once is as good as or better than clustering again",
            [once[name] >= -chance for name in STARTS],
            f"Once minus again is {once['seg']:+.2f} bits from seg and {once['scratch']:+.2f} bits from scratch.",
        ),
        (
            "the start network matters most",
            [start[how] > max(corr[how], abs(once["seg"])) for how in CLUSTERED],
            f"Clustered once, seg gains {start['once']:+.2f} bits over scratch and L_corr {corr['once']:+.2f}; "
            f"clustered again, {start['again']:+.2f} and {corr['again']:+.2f}.",
        ),
        (
            "L_corr matters more the finer the labels",
            [rise(metrics.bits), rise(metrics.kappa)],
            f"From seg, at {', '.join(map(str, LABELS))} labels L_corr adds {listed(metrics.bits, '{:+.2f}')} "
            f"in bits, and {listed(metrics.kappa, '{:+.3f}')} in kappa.",
        ),
    ]
    words = {0: "Not seen here", 1: "Partly seen here", 2: "Seen here"}
    return "\n".join(point(f"**The paper: {what}.** {words[sum(held)]}. {why}") for what, held, why in verdicts)


def point(text: str) -> str:
    """A list item, wrapped."""
    return textwrap.fill(text, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def collapses(fallen: Sequence[tuple[Key, dict[str, Any]]], runs: int) -> str:
    """A sentence about the runs whose labels collapsed."""
    if not fallen:
        return f"In none of the {runs} runs did the labels collapse (fewer than {COLLAPSED} bits at one view)."
    again, without = (sum(word in key for key, _ in fallen) for word in ("again", "without_corr"))
    named = "; ".join(
        f"K = {key.clusters} {key.corr.replace('_corr', ' L_corr')} {key.clustered} from {key.start}, "
        f"{row['information_bits_same_view']:.2f}"
        for key, row in fallen
    )
    return (
        f"In {len(fallen)} of {runs} runs the labels collapsed (fewer than {COLLAPSED} bits at one view), {again} of "
        f"them clustered again, {without} without L_corr: {named}. The means below include them."
    )


def page() -> str:
    stored = sorted((DOCS / "results").glob("small_seed*.json"))
    results = Results([read_json(path) for path in stored])
    paper, base = (read_json(DOCS / "results" / f"{name}.json") for name in ("paper", "small_base"))
    stored_grids = DOCS / "results" / "small_grid.json"
    grids = read_json(stored_grids) if stored_grids.is_file() else {}
    metrics = results.metrics
    rows = [row for rows in results.rows.values() for row in rows]
    noise = {start: [results.noise(metric, start) for metric in (metrics.bits, metrics.kappa)] for start in STARTS}
    spread = " ".join(
        f"From {start}, the standard deviation between seeds is {bits:.2f} bits and {kappa:.3f} kappa (median)."
        for start, (bits, kappa) in noise.items()
        if bits is not None and kappa is not None
    )
    fallen = [
        (key, row)
        for key, found in results.rows.items()
        for row in found
        if row["information_bits_same_view"] < COLLAPSED
    ]
    cpu = fmean(row["cpu_seconds"] for row in rows)
    seeds = f"{len(stored)} seeds; means are shown" if len(stored) > 1 else "one seed"
    return f"""# Experiments

The paper asks how many labels to learn, whether the loss across seasons (L_corr) helps, whether to cluster once or
again, and from which network to start. `configs/paper/` contains its experiments for the real data and a GPU.
`configs/small/paper.yaml` asks the same on the synthetic town with a network of 0.3 million weights; here are the
results. `benchmarks/experiments.py` writes it from `docs/results/`; the sweep file explains how to repeat it. All runs
train as the paper does; what our defaults change is [measured one by one](method.md#where-we-differ-from-the-paper).

## What can be compared, and what cannot

- The paper's metrics are **queries localized**, in percent; ours are **label metrics** at correspondences: what the
  label of a point in one condition tells about its label in another ([how to read them](label_metrics.md)). A number
  of one kind cannot be compared with a number of the other; only the order of the rows can.
- Seg here is the base network of the package, trained on 19 classes of the world in fair weather. Scratch is the same
  network with random weights, its batch norms measured on the images; the paper's other start has seen all of
  ImageNet, so ours knows far less. Column E has no counterpart: the world is one data set.
- A run is 420 steps of four pairs, the paper's 60,000 of one. Clustered again means at steps 140 and 280 as well, so
  that the last labels are learnt for a third of the steps, as the rate falls to 0; the paper's for a sixth.
- The networks are trained at 20 places in five conditions and measured at 8 later ones of the same drive,
  {base["points"]:,} points: few for 1000 labels. Bits are estimated on held-out places and so err low with many labels
  and few points; kappa ignores which labels correspond to each other, and falls as labels get finer.
{point(metrics.words)}
{point(f"{seeds[0].upper()}{seeds[1:]}. {spread or 'Small differences may be chance.'}")}
{point(collapses(fallen, len(rows)))}

## Findings

{findings(results)}

## All runs

Kappa is `{metrics.kappa}`, lift `{metrics.lift}`, bits `{metrics.bits}`;
used is the number of labels that occur.
{len(rows)} runs, {cpu:.0f} seconds of processor time each; `docs/results/small_seed*.csv` has every value.

{grid_table(results, base, grids)}

## What each choice is worth

Mean difference over all settings of the other choices, and in how many of them it is above 0.

{contrast_table(results)}

## The paper's table

Percent of queries within 0.25 m 2° / 0.5 m 5° / 5 m 10°, matches filtered by labels (SSMC). Next to each row, our label
metrics of the corresponding run; compare within columns, never across.

{paper_table(results, paper, base)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", type=Path, nargs="*", default=[], help="folders of finished sweeps, one per seed")
    parser.add_argument("--base", type=Path, help="folder of the base network's evaluation")
    options = parser.parse_args()
    for number, folder in enumerate(options.sweep):
        for ending in ("json", "csv"):
            shutil.copyfile(folder / f"results.{ending}", DOCS / "results" / f"small_seed{number}.{ending}")
    if options.sweep:
        grids = {}
        for clusters in LABELS:  # the grid does not depend on the network: any run with K labels has it
            run = next(options.sweep[0].glob(f"clusters{clusters}-*/evaluate/results.json"))
            grids[clusters] = read_json(run)["controls"]["grid"]
        write_json(DOCS / "results" / "small_grid.json", grids)
    if options.base:
        shutil.copyfile(options.base / "results.json", DOCS / "results" / "small_base.json")
    write_text(DOCS / "experiments.md", page())


if __name__ == "__main__":
    main()
