"""Label maps of a data set's images, computed once and read often; maps of another model are never read."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fgsn.data.dataset import Dataset
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, read_json, write_json
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import Model, fingerprint
from fgsn.inference.segment import segment_images
from fgsn.inference.segmenter import Segmenter

FINGERPRINT = "made_from.json"


class LabelCache:
    """The label maps below `out`/labels.

    The folder records the model and the data set that it was made from. Label maps of others, and label maps older than
    their image, are computed again. A folder without that record, or one that another process works in, is refused.
    """

    def __init__(self, out: Path, model_path: Path, dataset: Dataset) -> None:
        self.out, self.dataset = out, dataset
        self.folder = out / "labels"
        self.clusters = 0
        self._fingerprint = {"model": fingerprint(model_path), "data": str(dataset.root.resolve())}

    def fill(self, model: Model, images: Iterable[Path]) -> dict[Path, str]:
        """Segment the images without a label map.

        Returns:
            The images that could not be read, with the reason.

        Raises:
            FgsnError: another process works in the folder, or its label maps are of unknown origin.
        """
        self.clusters = model.clusters
        self._lock = FolderLock(self.out).require()  # held while labels are read and metrics written
        self._check_origin()
        names = {image: self.dataset.name(image) for image in images}
        for image in names:
            stored = self.path(image)
            if stored.exists() and stored.stat().st_mtime_ns < image.stat().st_mtime_ns:
                stored.unlink()
        reasons = segment_images(Segmenter(model, "float32"), list(names.items()), self.out, {"labels"})["failed"]
        return {
            image: next((reason for reason in reasons if str(image) in reason), f"{image} could not be segmented")
            for image in names
            if not self.path(image).exists()
        }

    def path(self, image: Path) -> Path:
        """Where the label map of an image is."""
        name = self.dataset.name(image)
        # Images that differ in their extension only keep it.
        whole = self.folder / f"{name}.png"
        return whole if whole.exists() else (self.folder / name).with_suffix(".png")

    def labels(self, image: Path) -> np.ndarray:
        """The (H, W) labels of an image that `fill` has seen.

        Raises:
            FgsnError: the label map is missing or broken, or was made by a model with another number of labels.
        """
        labels, clusters = read_label_map(self.path(image))
        if clusters != self.clusters:
            raise FgsnError(
                f"{self.path(image)} has {clusters} labels, but the model {self.clusters}; delete {self.folder}"
            )
        return labels

    def _check_origin(self) -> None:
        known = self.folder / FINGERPRINT
        if known.exists():
            if read_json(known) == self._fingerprint:
                return
            shutil.rmtree(self.folder)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FgsnError(f"{self.folder} contains label maps of unknown origin; choose another --out, or delete it")
        write_json(known, self._fingerprint)
