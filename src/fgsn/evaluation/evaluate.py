"""fgsn evaluate: how well do the labels of a model survive the change of condition?"""

from typing import Any

from fgsn.config import EvaluateSettings
from fgsn.evaluation.inputs import open_inputs
from fgsn.evaluation.label_metrics import collapse_note
from fgsn.evaluation.measure import measure
from fgsn.evaluation.semantic import annotated_images, semantic_metrics
from fgsn.files import write_json, write_yaml


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Segment the images of a split once, and measure the labels at its correspondences.

    Writes `labels/`, `results.json` and `config.yaml` to the output folder. Works for cluster models and for base
    networks. docs/label_metrics.md explains the metrics.

    Returns:
        The contents of `results.json`: the label metrics, the same under `conditions`, the metrics of
        `semantic_metrics` where the data set has annotated images, and `failed`, the images that could not be read;
        their pairs are left out.

    Raises:
        FgsnError: model or data set are broken, or the split has no correspondences.
    """
    inputs = open_inputs(settings)
    dataset, model, cache = inputs.dataset, inputs.model, inputs.cache
    annotated = annotated_images(dataset.root, settings.split)
    failed = cache.fill(model, [image for pair in inputs.pairs for image in (pair.reference, pair.target)])
    pairs = [pair for pair in inputs.pairs if not {pair.reference, pair.target} & failed.keys()]
    metrics = measure(
        cache.labels,
        pairs,
        model.clusters,
        dataset.place,
        dataset.condition,
        settings.resamples,
        settings.seed,
    )
    results = {
        "model": str(settings.model),
        "data": str(settings.data),
        "split": settings.split,
        "pairs": len(pairs),
        "clusters": model.clusters,
        **metrics,
    }
    semantic, unread = semantic_metrics(model, annotated)
    results |= semantic
    notes: list[str] = []
    if settings.resamples and metrics["information_bits_interval"] is None:
        notes.append(f"no interval: it needs 4 or more places, and there are {metrics['places']}")
    if model.classes is None:
        notes.append(collapse_note(metrics["clusters_used"], model.clusters))
    if any(notes):
        results["note"] = "; ".join(filter(None, notes))
    results["failed"] = [*failed.values(), *unread]
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results
