"""fgsn report: one HTML file about a run or a demo; it fetches nothing, so it opens from a disk or an e-mail."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fgsn.config import ReportSettings
from fgsn.errors import MissingExtraError
from fgsn.files import write_text
from fgsn.report import curves
from fgsn.report.clusters import clusters, point_labels
from fgsn.report.confusion import confusion
from fgsn.report.matches import match_pictures
from fgsn.report.pictures import hexadecimal
from fgsn.report.places import places
from fgsn.report.poses import recall_bars, scored, view_from_above
from fgsn.report.sources import Labelled, Sources, open_sources

PICTURE_BYTES = 7_000_000
"""For the places; what else is on the page stays below half of it."""
QUANTITIES = {
    "loss": "Loss",
    "loss_class": "Loss, dense clusters",
    "loss_corr": "Loss, correspondences",
    "validation: information_bits": "Validation: information, bits",
    "validation: information_bits_permutation": "Validation: information, permutation estimate, bits",
    "validation: kappa": "Validation: kappa",
    "validation: agreement": "Validation: agreement",
    "validation: clusters_used": "Validation: labels used",
}


def report(settings: ReportSettings) -> dict[str, Any]:
    """Write the page about a run or a demo, whole or not at all.

    Reads `config.yaml`, `metrics.jsonl`, `results.json` and the model of the run, or of the runs of a demo, the data
    set, label maps and result files. Parts without data are left out.

    Returns:
        Where the page is, its size, what is on it, and under `left_out` why something is not.

    Raises:
        MissingExtraError: jinja2 is not installed.
        FgsnError: it is no run, what was named is missing, or a file is broken.
    """
    template = _template()
    sources = open_sources(settings)
    parts = gathered(sources)
    out = settings.out or settings.run / "report.html"
    text = template.render(**parts, **about(sources), left_out=sources.left_out)
    write_text(out, text)
    return {
        "report": str(out),
        "megabytes": round(len(text.encode()) / 1e6, 2),
        "parts": [name for name, part in parts.items() if part and name != "map_names"],
        "left_out": sources.left_out,
    }


def gathered(sources: Sources) -> dict[str, Any]:
    """The parts of the page, empty where there is nothing to show."""
    metrics = {labelled.name: labelled.metrics for labelled in sources.labelled}
    points = point_labels(sources) if sources.main else None
    poses = scored(sources)
    return {
        "metrics": metrics,
        "charts": charts(sources.metrics),
        "places": places(sources, PICTURE_BYTES),
        "clusters": clusters(sources, points) if points else [],
        "confusion": confusion(sources, points) if points else None,
        "map_names": {method.key: method.name for method in poses},
        "recall": recall_bars(sources, poses),
        "view": view_from_above(sources, poses),
        "matches": match_pictures(sources, poses),
    }


def charts(metrics: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Titles and pictures of the training curves."""
    from markupsafe import Markup

    drawn = curves.read_charts(metrics)
    marks = curves.clusterings(metrics)
    return [
        (QUANTITIES.get(chart.name, chart.name), Markup(curves.draw(chart, list(metrics), marks))) for chart in drawn
    ]


def about(sources: Sources) -> dict[str, Any]:
    """Title, summary and facts."""
    main, model = sources.main, sources.model
    facts: dict[str, Any] = {key: value for key, value in sources.config.items() if value not in (None, [], "")}
    facts |= {f"seconds, {key}": value for key, value in (sources.results.get("seconds") or {}).items()}
    stationary = sum(model.stationary) if model is not None and model.stationary is not None else None
    conditions = list(
        dict.fromkeys(name for labelled in sources.labelled for name in labelled.metrics.get("conditions", {}))
    )
    return {
        "title": "Labels that survive the seasons",
        "subject": sources.run.resolve().name,
        "runs": list(sources.metrics),
        "main": main,
        "models": [labelled.name for labelled in sources.labelled],
        "label_names": [_names_by_colour(labelled) for labelled in sources.labelled],
        "conditions": conditions,
        "places_measured": main.metrics.get("places") if main else None,
        "base": sources.labelled[0] if len(sources.labelled) > 1 else None,
        "stationary": stationary,
        "label_count": model.clusters if model is not None else None,
        "facts": facts,
        "line_ends": curves.ENDS,
        "best": best_rows({labelled.name: labelled.metrics for labelled in sources.labelled}),
        "most_bits": _most_bits(sources),
    }


def _names_by_colour(labelled: Labelled) -> dict[str, str]:
    colours = [] if labelled.palette is None else labelled.palette
    return {hexadecimal(colour): name for colour, name in zip(colours, labelled.names, strict=True)}


def _most_bits(sources: Sources) -> float:
    """The end of the axis of information."""
    rows = [row for one in sources.labelled for row in (one.metrics, *one.metrics.get("conditions", {}).values())]
    ends = [(row.get("information_bits_interval") or [0, row.get("information_bits") or 0])[1] for row in rows]
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
    """Which row has the largest value of each metric where larger is better."""
    best = {}
    for key in ("information_bits", "kappa", "agreement", "match_lift"):
        values = {name: row[key] for name, row in metrics.items() if row.get(key) is not None}
        if len(values) > 1:
            best[key] = max(values, key=lambda name: values[name])
    return best


def number(value: Any, digits: int = 2) -> str:
    """A value for people: a dash for what is not known, thousands apart, few digits."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0: no minus before a zero


def percent(share: float | None) -> str:
    """A share from 0 to 1 as percent; small ones with a digit more."""
    return "–" if share is None else f"{number(100 * share, 1 if share < 0.0995 else 0)}\u00a0%"


def interval(bounds: Sequence[float] | None) -> str:
    """[low, high] as text; nothing where there is none."""
    return "" if bounds is None else f"{number(bounds[0])}\u00a0–\u00a0{number(bounds[1])}"
