"""Training curves from metrics.jsonl, as small SVG charts that use the colours of the page."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from fgsn.files import read_text

POINTS = 160
"""Points per line; longer records are averaged."""
WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 26
DOTS = 20
"""Lines of at most so many points, such as those of validations, have a marker at each."""
ENDS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "m-4-4h8v8h-8z", "m0-5l5 5-5 5-5-5z", "m0-5l5 8h-10z", "m0 5l5-8h-10z",
    "m-5-1h4v-4h2v4h4v2h-4v4h-2v-4h-4z",
)  # fmt: skip
"""Markers at the ends of lines, so that lines do not differ by colour alone."""
SERIES = len(ENDS)
"""Number of line styles (.series-N, a colour and a dash pattern) that the page defines."""

Line = list[tuple[float, float]]


@dataclass
class Chart:
    """One quantity over the steps of one or several runs."""

    name: str
    lines: dict[str, Line] = field(default_factory=dict)


def read_metrics(path: Path | str) -> Iterator[dict[str, Any]]:
    """Rows of a metrics file; skips invalid lines, since a running training may be writing the last one."""
    for line in read_text(path).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and _is_number(row.get("step")):
            yield row


def read_charts(runs: Mapping[str, Path]) -> list[Chart]:
    """One chart per quantity, losses first, then validation metrics; one line per run that recorded it."""
    charts: dict[str, Chart] = {}
    for run, path in runs.items():
        for row in read_metrics(path):
            found = {name: value for name, value in row.items() if name.startswith("loss")}
            validation = row.get("validation")
            if isinstance(validation, Mapping):
                found |= {f"validation: {name}": value for name, value in validation.items()}
            for name, value in found.items():
                if _is_number(value):
                    chart = charts.setdefault(name, Chart(name))
                    chart.lines.setdefault(run, []).append((float(row["step"]), float(value)))
    for chart in charts.values():
        chart.lines = {run: thinned(line) for run, line in chart.lines.items()}
    return sorted(charts.values(), key=lambda chart: chart.name.startswith("validation"))


def clusterings(runs: Mapping[str, Path]) -> list[float]:
    """Steps at which any run clustered features."""
    return sorted({float(row["step"]) for path in runs.values() for row in read_metrics(path) if "clustering" in row})


def thinned(line: Line, points: int = POINTS) -> Line:
    """At most `points` points, each the mean of a segment of the line."""
    line = sorted(line)
    size = math.ceil(len(line) / points)
    stretches = [line[start : start + size] for start in range(0, len(line), size)] if size > 1 else [[p] for p in line]
    return [
        (sum(step for step, _ in part) / len(part), sum(value for _, value in part) / len(part)) for part in stretches
    ]


def draw(chart: Chart, runs: Sequence[str], marks: Sequence[float] = ()) -> str:
    """The chart as SVG; the position of a run in `runs`, those of all charts, determines its line style.

    At the steps `marks` features were clustered.
    """
    steps = [step for line in chart.lines.values() for step, _ in line]
    values = [value for line in chart.lines.values() for _, value in line]
    x_ticks, y_ticks = ticks(min([*steps, *marks]), max(steps), 4), ticks(min(values), max(values), 4)
    x_low, x_high = min([*steps, *marks]), max(max(steps), min(steps) + 1)
    y_low, y_high = min(y_ticks[0], min(values)), max(y_ticks[-1], max(values))

    def x(step: float) -> float:
        return round(LEFT + (step - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.name)} over training steps">']
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{_label(tick)}</text>')
    for tick in (tick for tick in x_ticks if x_low <= tick <= x_high):
        parts.append(f'<text x="{x(tick)}" y="{HEIGHT - 8}" text-anchor="middle">{_label(tick)}</text>')
    for mark in (mark for mark in marks if x_low <= mark <= x_high):
        parts.append(f'<path class="mark" d="M{x(mark)} {HEIGHT - BOTTOM}V{TOP}m-4-6h8l-4 6z"/>')
    for run, line in chart.lines.items():
        kind = f"series-{list(runs).index(run) % SERIES}"
        path = " ".join(f"{x(step)},{y(value)}" for step, value in line)
        parts.append(f'<polyline class="{kind}" points="{path}"><title>{escape(run)}</title></polyline>')
        shape = ENDS[list(runs).index(run) % SERIES]
        measured = line if len(line) <= DOTS else line[-1:]
        marked = "".join(f"M{x(step)} {y(value)}{shape}" for step, value in measured)
        parts.append(f'<path class="end {kind}" d="{marked}"/>')
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers that span [low, high]."""
    if high <= low:
        low, high = low - 0.1 * (abs(low) or 1), low + 0.1 * (abs(low) or 1)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _label(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:.3g}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
