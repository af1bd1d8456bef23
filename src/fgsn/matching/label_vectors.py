"""Label probabilities at key points and in parts of an image, computed once per image and kept in a folder."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch.nn import functional

from fgsn.data.images import read_image
from fgsn.errors import FgsnError
from fgsn.files import file_stamp, inside
from fgsn.formats.hdf5 import stamped_arrays, write_stamp, written
from fgsn.inference.model import fingerprint, load
from fgsn.inference.segmenter import Segmenter
from fgsn.inference.upsample import values_at_points
from fgsn.progress import Meter

_KEYS = ("label_vectors", "label_pyramid")
PYRAMID = 4
"""Columns and rows of cells in which an image's labels are counted."""


@dataclass(frozen=True, eq=False)
class LabelVectors:
    """Square roots of the label probabilities of images, at key points and as histograms: vectors of length 1.

    The dot product of two of them is the Bhattacharyya coefficient of their distributions. There is one small file
    per image (float16), so that an interrupted run continues where it stopped. It is computed again when the image or
    its key points have changed.
    """

    model: Path
    """Model file or run folder."""
    folder: Path
    """Where the files of this model are kept."""

    @classmethod
    def of_model(cls, model: Path, work: Path) -> "LabelVectors":
        """Those of a model, in a folder of their own below `work`.

        Raises:
            FgsnError: there is no such model.
        """
        return cls(model, work / f"labels-{fingerprint(model)[:16]}")

    def compute(
        self, images: Mapping[str, Path], points: Mapping[str, Float[np.ndarray, "points 2"]], device: str = "auto"
    ) -> dict[str, str]:
        """Compute what is missing at the key points of images (x, y, pixel centres at integers), with progress.

        Returns:
            The images that cannot be read, and why.

        Raises:
            FgsnError: the model cannot be read.
        """
        model = load(self.model, device)
        stamps: dict[str, str] = {}
        broken: dict[str, str] = {}
        for name in points:
            try:
                stamps[name] = _stamp(images[name], points[name])
            except FgsnError as error:
                broken[name] = str(error)
        todo = [name for name in stamps if not self._is_there(name, stamps[name], len(points[name]))]

        def pixels() -> Iterator[tuple[str, np.ndarray]]:
            for name in todo:
                try:
                    yield name, read_image(images[name])
                except FgsnError as error:
                    broken[name] = str(error)
                    meter.step()

        with Meter("labels", len(todo)) as meter:
            # float32 whatever the processor, so that the vectors do not depend on the machine
            for image in Segmenter(model, "float32").many(pixels(), {"scores"}):
                assert image.scores is not None
                scores = values_at_points(image.scores, points[image.name], image.pixels.shape[:2], image.resized)
                histograms = functional.adaptive_avg_pool2d(torch.softmax(image.scores, dim=0), PYRAMID)
                arrays = torch.softmax(scores, dim=1).sqrt(), histograms.sqrt().flatten() / PYRAMID
                with written(self._file(image.name)) as file:
                    write_stamp(file, stamps[image.name])
                    for key, values in zip(_KEYS, arrays, strict=True):
                        file[f"{image.name}/{key}"] = values.half().cpu().numpy()
                meter.step()
        return broken

    def at(self, name: str, image: Path, points: Float[np.ndarray, "points 2"]) -> Float32[np.ndarray, "points labels"]:
        """The vectors at the key points of an image, which `compute` has been given.

        Raises:
            FgsnError: they are not in the folder, or their file is damaged.
        """
        return self._found(name, image, points)[0]

    def pyramid(
        self, name: str, image: Path, points: Float[np.ndarray, "points 2"]
    ) -> Float32[np.ndarray, " cells_and_labels"]:
        """The label histograms of 4 x 4 parts of an image, as one vector of length 1; see `at`."""
        return self._found(name, image, points)[1]

    def _found(self, name: str, image: Path, points: np.ndarray) -> list[np.ndarray]:
        found = self._read(name, _stamp(image, points), len(points))
        if found is None:
            raise FgsnError(f"{self._file(name)} has no labels at the current key points of '{name}'; run this again")
        return found

    def _is_there(self, name: str, stamp: str, count: int) -> bool:
        """Whether the vectors can be read; a damaged file is as good as none, as it is computed again."""
        try:
            return self._read(name, stamp, count) is not None
        except FgsnError:
            return False

    def _read(self, name: str, stamp: str, count: int) -> list[np.ndarray] | None:
        arrays = stamped_arrays(self._file(name), name, _KEYS, stamp)
        if arrays is None:
            return None
        if arrays[0].ndim != 2 or len(arrays[0]) != count:
            raise FgsnError(f"{self._file(name)} is damaged; delete it")
        return [array.astype(np.float32) for array in arrays]

    def _file(self, name: str) -> Path:
        return inside(self.folder, f"{name}.h5")


def _stamp(image: Path, points: np.ndarray) -> str:
    """Changes with the image file and with its key points."""
    digest = hashlib.sha256(np.asarray(points, np.float32).tobytes()).hexdigest()[:16]
    return f"{file_stamp(image)} {digest}"
