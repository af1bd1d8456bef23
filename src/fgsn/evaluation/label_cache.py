"""Label maps of a data set's images, computed once and read often; maps of another model are never read."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.config import EvaluateSettings, StationarySettings
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.pair_files import require_inside, sampled
from fgsn.errors import FgsnError
from fgsn.files import FolderLock
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import Model, load
from fgsn.inference.origin import is_fresh, origin_of, other_origin, record_origin, recorded_origin
from fgsn.inference.segment import segment_images
from fgsn.inference.segmenter import Segmenter

COMMAND = "evaluate"
"""Recorded in folders whose label maps an evaluation of another model may replace."""


class LabelCache:
    """The label maps below `out`/labels.

    The folder records what its label maps were made from. Those that an evaluation of another model left, and those
    that do not belong to their image, are computed again. Label maps of another model that `fgsn segment` made, or of
    unknown origin, are refused, as is a folder that another process works in.
    """

    def __init__(self, out: Path, model_path: Path, dataset: Dataset) -> None:
        self.out, self.model_path, self.dataset = out, model_path, dataset
        self.folder = out / "labels"
        self.clusters = 0

    def fill(self, model: Model, images: Iterable[Path]) -> dict[Path, str]:
        """Segment the images without a label map; returns those that could not be read, with the reason.

        Raises FgsnError if another process works in the folder, or its label maps are of unknown origin.
        """
        self.clusters = model.clusters
        self._lock = FolderLock(self.out).require()  # held while labels are read and metrics written
        segmenter = Segmenter(model, "float32")
        self._check_origin(origin_of(segmenter, self.model_path))
        names = {image: self.dataset.name(image) for image in images}
        reasons = segment_images(segmenter, list(names.items()), self.out, {"labels"})["failed"]
        return {
            image: next((reason for reason in reasons if str(image) in reason), f"{image} could not be segmented")
            for image in names
            if not is_fresh(self.path(image), image)
        }

    def path(self, image: Path) -> Path:
        """Where the label map of an image is."""
        name = self.dataset.name(image)
        # Images that differ in their extension only keep it.
        whole = self.folder / f"{name}.png"
        return whole if whole.exists() else (self.folder / name).with_suffix(".png")

    def labels(self, image: Path) -> np.ndarray:
        """The (H, W) labels of an image that `fill` has seen.

        Raises FgsnError if the label map is missing or broken, or a model with another number of labels made it.
        """
        labels, clusters = read_label_map(self.path(image))
        if clusters != self.clusters:
            raise FgsnError(
                f"{self.path(image)} has {clusters} labels, but the model {self.clusters}; delete {self.folder}"
            )
        return labels

    def _check_origin(self, made_from: dict[str, Any]) -> None:
        if other := other_origin(self.out, made_from):
            if recorded_origin(self.out).get("command") != COMMAND:
                raise FgsnError(f"{self.out} contains {other}: choose another --out, or delete {self.folder}")
            shutil.rmtree(self.folder, ignore_errors=True)
        if other or not recorded_origin(self.out):
            record_origin(self.out, made_from, command=COMMAND)


def open_inputs(
    settings: EvaluateSettings | StationarySettings,
) -> tuple[Dataset, list[Correspondences], Model, LabelCache]:
    """Open a data set and a model: the pairs of the split, and the cache of label maps, which is still to be filled.

    Raises FgsnError if model or data set are broken, or the split has no pairs.
    """
    dataset = Dataset.open(settings.data)
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs(settings.split, moved=False)]
    if not pairs:
        raise FgsnError(
            f"{settings.data} has no pairs in the split '{settings.split}'; run fgsn prepare {settings.data}, or "
            "measure another --split"
        )
    require_inside(sampled(pairs))
    return dataset, pairs, load(settings.model, settings.device), LabelCache(settings.out, settings.model, dataset)
