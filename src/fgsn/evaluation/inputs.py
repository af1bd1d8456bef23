"""Open what every measurement needs: the pairs of a split, a model, and the folder for its label maps."""

from dataclasses import dataclass

from fgsn.config import EvaluateSettings, StationarySettings
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.errors import FgsnError
from fgsn.evaluation.label_cache import LabelCache
from fgsn.inference.model import Model, load


@dataclass(frozen=True, eq=False)
class Inputs:
    """An opened data set and model."""

    dataset: Dataset
    pairs: list[Correspondences]
    """The pairs of the split, at least one."""
    model: Model
    cache: LabelCache
    """The label maps of the images; `LabelCache.fill` makes them."""


def open_inputs(settings: EvaluateSettings | StationarySettings) -> Inputs:
    """Open data set and model.

    Raises:
        FgsnError: model or data set are broken, or the split has no pairs.
    """
    dataset = Dataset.open(settings.data)
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs(settings.split, moved=False)]
    if not pairs:
        raise FgsnError(f"{settings.data} has no pairs in the split '{settings.split}'")
    model = load(settings.model, settings.device)
    return Inputs(dataset, pairs, model, LabelCache(settings.out, settings.model, dataset))
