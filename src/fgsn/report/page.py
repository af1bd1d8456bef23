"""fgsn report: one self-contained HTML file about a run or a demo; it loads nothing from elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from fgsn.config import ReportSettings
from fgsn.errors import MissingExtraError
from fgsn.evaluation.measure import HEADLINE
from fgsn.files import write_text
from fgsn.inference.correspondence_labels import correspondence_labels
from fgsn.report import curves
from fgsn.report.clusters import clusters
from fgsn.report.confusion import confusion
from fgsn.report.matches import match_pictures
from fgsn.report.pictures import hexadecimal
from fgsn.report.places import places, three_distances
from fgsn.report.poses import map_view, recall_bars, scored
from fgsn.report.sources import ModelLabels, ReportSources, open_sources

PICTURE_BYTES = 7_000_000
"""Size limit for the pictures of places; the rest of the page is below half of it."""
GRID = "blind grid of {clusters} cells"
BASE, START = "base network's classes", "start network"
QUANTITIES = {
    "loss": "Loss",
    "loss_class": "Loss, dense clusters",
    "loss_corr": "Loss, correspondences",
    "validation: kappa_position_controlled": "Validation: kappa, position-controlled",
    "validation: match_lift_position_controlled": "Validation: lift, position-controlled",
    "validation: information_bits_position_controlled": "Validation: bits, position-controlled",
    "validation: information_bits_same_view": "Validation: bits, same view",
    "validation: kappa": "Validation: kappa, same view",
    "validation: agreement": "Validation: agreement, same view",
    "validation: clusters_used": "Validation: labels used",
}


def report(settings: ReportSettings) -> dict[str, Any]:
    """Write the page about a run or a demo, atomically.

    Reads `config.yaml`, `metrics.jsonl`, `results.json` and the model of the run, or of the runs of a demo, the data
    set, label maps and result files. Sections without data are omitted.

    Returns:
        `report`: path of the page; `megabytes`: its size; `parts`: its sections; `left_out`: reasons for missing ones.

    Raises:
        MissingExtraError: jinja2 is not installed.
        FgsnError: the folder is not a run or demo, or a file is missing or invalid.
    """
    template = _template()
    sources = open_sources(settings)
    parts = gathered(sources)
    text = template.render(**parts, **about(sources), left_out=sources.left_out)
    write_text(settings.page, text)
    return {
        "report": str(settings.page),
        "megabytes": round(len(text.encode()) / 1e6, 2),
        "parts": [name for name, part in parts.items() if part and name not in ("map_names", "unit")],
        "left_out": sources.left_out,
    }


def gathered(sources: ReportSources) -> dict[str, Any]:
    """The sections of the page; empty if there is nothing to show."""
    points = correspondence_labels(sources.labels, sources.pairs) if sources.main else None
    poses = scored(sources)
    matches = match_pictures(sources, poses)
    return {
        "metrics": rows_with_controls(sources),
        "charts": charts(sources.metrics),
        "distances": three_distances(sources),
        "places": places(sources, PICTURE_BYTES),
        "clusters": clusters(sources, points) if points else [],
        "confusion": confusion(sources, points) if points else None,
        "map_names": {method.key: method.name for method in poses},
        "recall": recall_bars(sources, poses),
        "view": map_view(sources, poses),
        "unit": "m" if sources.metres_per_unit else "units",
        "matches": matches and asdict(matches),
    }


def rows_with_controls(sources: ReportSources) -> dict[str, Mapping[str, Any]]:
    """Metrics by the name of the labels: first the blind grid, then the start, then the models."""
    if sources.main is None:
        return {}
    controls = sources.main.metrics.get("controls", {})
    rows: dict[str, Mapping[str, Any]] = {}
    if "grid" in controls:
        rows[GRID.format(clusters=controls["grid"].get("clusters", ""))] = controls["grid"]
    if "base" in controls and len(sources.labelled) == 1:
        rows[START] = controls["base"]
    return rows | {labelled.name: labelled.metrics for labelled in sources.labelled}


def charts(metrics: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Titles and SVG of the training curves."""
    from markupsafe import Markup

    drawn = curves.read_charts(metrics)
    marks = curves.clusterings(metrics)
    return [
        (QUANTITIES.get(chart.name, chart.name), Markup(curves.draw(chart, list(metrics), marks))) for chart in drawn
    ]


def about(sources: ReportSources) -> dict[str, Any]:
    """Title, summary and settings."""
    main, model = sources.main, sources.model
    facts: dict[str, Any] = {key: value for key, value in sources.config.items() if value not in (None, [], "")}
    facts |= {f"seconds, {key}": value for key, value in (sources.results.get("seconds") or {}).items()}
    stationary = sum(model.stationary) if model is not None and model.stationary is not None else None
    conditions = list(
        dict.fromkeys(name for labelled in sources.labelled for name in labelled.metrics.get("conditions", {}))
    )
    rows = rows_with_controls(sources)
    end = _axis_end(rows.values())
    return {
        "title": "Labels that survive the seasons",
        "subject": sources.run.resolve().name,
        "runs": list(sources.metrics),
        "main": main,
        "models": [labelled.name for labelled in sources.labelled],
        "label_names": [_names_by_colour(labelled) for labelled in sources.labelled],
        "conditions": conditions,
        "places_measured": main.metrics.get("places") if main else None,
        "base": _base_metrics(sources),
        "base_name": START if len(sources.labelled) == 1 else BASE,
        "same_view_note": same_view_note(main.metrics) if main else "",
        "stationary": stationary,
        "label_count": model.clusters if model is not None else None,
        "facts": facts,
        "line_ends": curves.ENDS,
        "best": best_rows(rows),
        "headline": HEADLINE,
        "axis_end": end,
        "across": lambda value: round(100 * min(max((value or 0) / end, 0), 1), 2),
    }


def _names_by_colour(labelled: ModelLabels) -> dict[str, str]:
    colours = [] if labelled.palette is None else labelled.palette
    return {hexadecimal(colour): name for colour, name in zip(colours, labelled.names, strict=True)}


def _base_metrics(sources: ReportSources) -> Mapping[str, Any] | None:
    """Metrics of a demo's base network or of the network that a run started from, if they were measured."""
    if len(sources.labelled) > 1:
        return sources.labelled[0].metrics
    return sources.main.metrics.get("controls", {}).get("base") if sources.main else None


def _axis_end(metrics: Iterable[Mapping[str, Any]]) -> float:
    """Upper end of the axis of the headline."""
    rows = [row for one in metrics for row in (one, *one.get("conditions", {}).values())]
    ends = [(row.get(f"{HEADLINE}_interval") or [0, row.get(HEADLINE) or 0])[1] for row in rows]
    return curves.ticks(0, max([*ends, 0.1]), 4)[-1]


def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("jinja2", "report") from None
    assets = resources.files("fgsn") / "assets"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (assets / name).read_text("utf-8")),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "percent": percent}
    return environment.get_template("report.html.j2")


def best_rows(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The name of the row with the largest value, for each metric that a blind grid cannot win."""
    best = {}
    for key in (HEADLINE, "match_lift_position_controlled", "information_bits_position_controlled"):
        values = {name: row[key] for name, row in metrics.items() if row.get(key) is not None}
        if len(values) > 1:
            best[key] = max(values, key=lambda name: values[name])
    return best


def same_view_note(metrics: Mapping[str, Any]) -> str:
    """What it means that a blind grid has the higher same-view kappa by `fgsn evaluate`; empty where it has not."""
    kappa, grid = metrics.get("kappa"), metrics.get("controls", {}).get("grid", {}).get("kappa")
    if kappa is None or grid is None or grid < kappa:
        return ""
    return (
        f"the same-view kappa of a blind grid, {number(grid)}, is not below that of the labels, {number(kappa)}: "
        "points keep their position in the image, so this metric says nothing about labels; position-controlled ones do"
    )


def number(value: Any, digits: int = 2) -> str:
    """Format a value: a dash for None, spaces between thousands, few digits."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0: no minus sign before zero


def percent(share: float | None) -> str:
    """Format a share from 0 to 1 as percent; small ones with one more digit."""
    return "–" if share is None else f"{number(100 * share, 1 if share < 0.0995 else 0)}\u00a0%"


def interval(bounds: Sequence[float] | None) -> str:
    """Format [low, high]; empty for None."""
    return "" if bounds is None else f"{number(bounds[0])}\u00a0–\u00a0{number(bounds[1])}"
