"""One page with everything: figures, training curves, and pictures of places in several conditions.

The page is a single HTML file that fetches nothing; it opens from a disk, an e-mail or a phone.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fgsn.errors import MissingExtraError
from fgsn.evaluation import curves as curve_drawing
from fgsn.evaluation.pictures import Scene, View, embed
from fgsn.files import write_text

__all__ = ["Scene", "View", "write_report"]

PICTURE_BYTES = 7_000_000
QUANTITIES = {
    "loss": "Loss",
    "loss_class": "Loss, dense clusters",
    "loss_corr": "Loss, correspondences",
    "validation: information_bits": "Validation: information, bits",
    "validation: kappa": "Validation: kappa",
    "validation: agreement": "Validation: agreement",
}
METHODS = {
    "p3p": "P3P",
    "ssmc_base": "SSMC, base classes",
    "ssmc_fgsn": "SSMC, fine-grained",
    "gsmc_fgsn": "GSMC, fine-grained",
    "pfsl_fgsn": "PFSL, fine-grained",
}


def write_report(
    path: Path | str,
    title: str,
    summary: str,
    figures: Mapping[str, Mapping[str, Any]],
    curves: Mapping[str, Path] | None = None,
    scenes: Sequence[Scene] = (),
    poses: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the page, whole or not at all; below 8 MB however many pictures there are.

    Args:
        path: the HTML file.
        title: stands at the top.
        summary: one paragraph below it, plain text: what was done, and what came out.
        figures: results of `fgsn.evaluation.evaluate.evaluate` by the name of their row, in order.
        curves: `metrics.jsonl` files by the name of their run.
        scenes: places, each in several conditions.
        poses: per method and condition (or 'all') the percentages of queries within the three thresholds.
        facts: anything else worth knowing about the run, shown as a list at the end.

    Raises:
        MissingExtraError: jinja2 is not installed.
        FgsnError: a picture or metrics file is missing or broken, or the page cannot be written.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise MissingExtraError("jinja2", "report") from None
    charts = curve_drawing.read_charts(curves or {})
    runs = [run for run in curves or {} if any(run in chart.lines for chart in charts)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": number, "interval": interval}
    template = environment.from_string((resources.files("fgsn") / "assets" / "report.html.j2").read_text("utf-8"))
    page = template.render(
        title=title,
        summary=summary,
        figures=figures,
        best=best_rows(figures),
        conditions=list(dict.fromkeys(name for row in figures.values() for name in row.get("conditions", {}))),
        runs=runs,
        charts=[(QUANTITIES.get(chart.name, chart.name), Markup(curve_drawing.draw(chart, runs))) for chart in charts],
        scenes=embed(scenes, PICTURE_BYTES),
        poses=poses or {},
        pose_conditions=list(dict.fromkeys(name for row in (poses or {}).values() for name in row)),
        methods=METHODS,
        facts=facts or {},
    )
    write_text(path, page)


def best_rows(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Which row has the largest value of each figure where larger is better."""
    best = {}
    for key in ("information_bits", "kappa", "agreement", "match_lift"):
        values = {name: row[key] for name, row in figures.items() if row.get(key) is not None}
        if len(values) > 1:
            best[key] = max(values, key=lambda name: values[name])
    return best


def number(value: Any, digits: int = 2) -> str:
    """A figure for people: a dash for what is not known, thousands apart, few digits."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0: no minus before a zero


def interval(bounds: Sequence[float] | None) -> str:
    """[low, high] as text; nothing where there is none."""
    return "" if bounds is None else f"{number(bounds[0])} – {number(bounds[1])}"
