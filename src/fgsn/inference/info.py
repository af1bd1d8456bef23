"""fgsn info: what is inside a model file."""

from typing import Any

from fgsn.config import InfoSettings
from fgsn.inference.model import Model, load


def info(settings: InfoSettings) -> dict[str, Any]:
    """Describe the model of a file in plain values."""
    return describe(load(settings.model, "cpu"))


def describe(model: Model) -> dict[str, Any]:
    """What there is to know of a model, in plain values."""
    architecture = model.network.architecture
    facts: dict[str, Any] = {
        "kind": "base network" if model.classes else "fine-grained labels",
        "labels": model.clusters,
        "backbone": architecture.backbone,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "feature_dim": architecture.feature_dim,
        "window": f"{model.window} px",
        "windows": model.windows,
        "short_side": f"{model.short_side} px" if model.short_side else "as the image",
        "input": f"{model.normalisation.order}, mean {model.normalisation.mean}, std {model.normalisation.std}",
    }
    if model.classes:
        facts["classes"] = ", ".join(model.classes)
    if model.codebook is not None:
        facts["codebook"] = f"{model.codebook.clusters} centroids of {model.codebook.centroids.shape[1]} dimensions"
    if model.stationary is not None:
        facts["stationary"] = f"{sum(model.stationary)} of {model.clusters} clusters"
    facts["training"] = {key: str(value) for key, value in model.facts.items()}
    return facts
