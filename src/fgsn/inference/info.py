"""fgsn info: what a model file contains."""

from typing import Any

from fgsn.config import InfoSettings
from fgsn.inference.model import load


def info(settings: InfoSettings) -> dict[str, Any]:
    """Describe the model of a file in plain values."""
    return load(settings.model, "cpu").describe()
