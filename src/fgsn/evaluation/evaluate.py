"""fgsn evaluate: how well do the labels of a model survive the change of condition?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fgsn.config import EvaluateSettings
from fgsn.data.correspondences import Correspondences
from fgsn.evaluation.candidates import candidate_matcher, candidate_metrics
from fgsn.evaluation.label_cache import LabelCache, open_inputs
from fgsn.evaluation.label_metrics import collapse_note
from fgsn.evaluation.measure import HEADLINE, measure
from fgsn.evaluation.moved_views import moved_view_metrics
from fgsn.evaluation.semantic import annotated_images, semantic_metrics
from fgsn.files import write_json, write_yaml
from fgsn.inference.model import Model, load


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Segment the images of a split once, and measure the labels at its correspondences.

    Writes `labels/`, `results.json` and `config.yaml` to the output folder. Works for cluster models and for base
    networks. docs/label_metrics.md explains the metrics.

    Returns:
        The contents of `results.json`: the metrics of `measure`, `moved_view_metrics` and, with --candidates,
        `candidate_metrics`, the same under `conditions`, those of a blind grid and of --baseline under `controls`, the
        metrics of `semantic_metrics` where the data set has annotated images, and `failed`, the images that could not
        be read; their pairs are left out.

    Raises:
        FgsnError: model or data set are broken, or the split has no correspondences.
    """
    dataset, every, model, cache = open_inputs(settings)
    base = load(settings.baseline, settings.device) if settings.baseline else None
    matcher = candidate_matcher(settings.candidates, model.device.type) if settings.candidates else None
    annotated = annotated_images(dataset.root, settings.split)
    pairs, failed, metrics = _measured(every, model, cache, settings)
    grid = metrics.pop("grid")
    results = {
        "model": str(settings.model),
        "data": str(settings.data),
        "split": settings.split,
        "pairs": len(pairs),
        "clusters": model.clusters,
        **metrics,
        "controls": {"grid": {"clusters": model.clusters, **grid}},
    }
    if base and settings.baseline:
        cache = LabelCache(settings.out / "baseline", settings.baseline, dataset)
        _, _, found = _measured(every, base, cache, settings)
        del found["grid"]
        results["controls"]["base"] = {"clusters": base.clusters, **found}
    if matcher:
        models = {"labels": model} | ({"base": base} if base else {})
        found = candidate_metrics(models, pairs, dataset, matcher, settings.out / "candidates")
        results |= found.pop("labels") | {"candidates": found.pop("counts")}
        results["controls"]["grid"] |= found.pop("position")
        for name, areas in found.items():
            results["controls"][name] |= areas
    semantic, unread = semantic_metrics(model, annotated)
    results |= semantic
    notes: list[str] = []
    if metrics[HEADLINE] is None:
        notes.append(
            f"no {HEADLINE}: only {metrics['points_position_controlled']} correspondences have a false partner at the "
            "same image position in another place"
        )
    elif settings.resamples and metrics[f"{HEADLINE}_interval"] is None:
        notes.append(f"no interval: it needs 4 or more places, and there are {metrics['places']}")
    if model.classes is None:
        notes.append(collapse_note(metrics["clusters_used"], model.clusters))
    if any(notes):
        results["note"] = "; ".join(filter(None, notes))
    results["failed"] = [*failed.values(), *unread]
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results


def _measured(
    every: Sequence[Correspondences], model: Model, cache: LabelCache, settings: EvaluateSettings
) -> tuple[list[Correspondences], dict[Path, str], dict[str, Any]]:
    """The pairs that could be measured, the images that could not be read, and the metrics of a model."""
    dataset = cache.dataset
    failed = cache.fill(model, [image for pair in every for image in (pair.reference, pair.target)])
    pairs = [pair for pair in every if not {pair.reference, pair.target} & failed.keys()]
    metrics = measure(
        cache.labels, pairs, model.clusters, dataset.place, dataset.condition, settings.resamples, settings.seed
    )
    if settings.moved_views:
        metrics |= moved_view_metrics(
            cache.labels, model.segment, pairs, model.clusters, dataset.place, settings.moved_views, settings.seed
        )
    return pairs, failed, metrics
