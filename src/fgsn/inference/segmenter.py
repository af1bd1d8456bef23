"""Run a model on whole images: windows of several images in one batch, 16 bits where the processor supports them.

docs/speed.md reports the gain in speed.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor, nn

from fgsn.data.resize import resized_shape
from fgsn.inference.published_windows import published_labels
from fgsn.inference.tiles import blended
from fgsn.inference.upsample import labels_at_pixels, values_at_points
from fgsn.models.predictor import Predictor
from fgsn.models.pspnet import Architecture, PSPNet

if TYPE_CHECKING:
    from fgsn.inference.model import Model

LIVE = 3
"""Maps of the largest size in memory at the same time while a window is computed: a block, its shortcut, a copy."""
ONE_AT_A_TIME = Lock()
"""On a GPU: the bands of the label maps of several threads would not fit into the memory that was asked for."""
LARGEST_BATCH = {"cpu": 4, "cuda": 64}
"""Larger batches are not faster."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The maps computed for one image; None for a map that was not requested."""

    name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    resized: tuple[int, int]
    """(height, width) of the image as the network sees it."""
    scores: Float[Tensor, "classes h w"] | None = None
    """At feature cells, on the model's device."""
    features: Float[Tensor, "dim h w"] | None = None
    """At feature cells, on the model's device."""
    published: Integer[np.ndarray, "height width"] | None = None
    """The label map, for models that use the authors' windows: those labels are not derived from `scores`."""

    @property
    def nbytes(self) -> int:
        """Memory of the maps in bytes."""
        return sum(part.nbytes for part in (self.scores, self.features, self.published) if part is not None)

    def labels(self) -> Integer[np.ndarray, "height width"]:
        """The label of every pixel of the image."""
        if self.published is not None:
            return self.published
        assert self.scores is not None
        with ONE_AT_A_TIME if self.scores.is_cuda else nullcontext():
            return labels_at_pixels(self.scores, self.pixels.shape[:2], self.resized).cpu().numpy()


class Segmenter:
    """Scores, features and label maps of images.

    Args:
        precision: float32, bfloat16 or auto (see `chosen_precision`): computes with a copy of the network optimised for
            inference; later training of the network does not change the copy. None computes with the network itself.
        memory: GiB for the windows of one batch; limits the batch.
        batch: windows per batch; 0 for as many as fit into `memory`.
    """

    def __init__(self, model: "Model", precision: str | None = "auto", memory: float = 2.0, batch: int = 0) -> None:
        self.model = model
        self.network: PSPNet | Predictor = model.network
        self.precision = "float32" if precision is None else chosen_precision(model, precision)
        self.batch = batch or LARGEST_BATCH["cpu"]
        if precision is not None:
            dtype = getattr(torch, self.precision)
            self.network = Predictor(model.network, dtype)
            fitting = int(memory * 2**30 / window_bytes(model.network.architecture, model.window, dtype))
            self.batch = batch or max(1, min(fitting, LARGEST_BATCH.get(model.device.type, 4)))

    def labels(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Integer[np.ndarray, "height width"]:
        """The label of every pixel of an image: the class with the largest score."""
        return self._one(pixels, "labels").labels()

    def scores(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "classes h w"]:
        """Scores of all labels at the feature cells, on the model's device."""
        scores = self._one(pixels, "scores").scores
        assert scores is not None
        return scores

    def features(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "dim h w"]:
        """Features at the feature cells, on the model's device."""
        features = self._one(pixels, "features").features
        assert features is not None
        return features

    def probabilities_at(
        self, pixels: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "points 2"]
    ) -> Float[Tensor, "points classes"]:
        """Probabilities of all labels at points of an image, x, y with pixel centres at integers: no map is stored.

        Scores are interpolated between feature cells, as for label maps; then the softmax is taken.
        """
        size, seen = pixels.shape[:2], resized_shape(pixels.shape, self.model.short_side)
        return values_at_points(self.scores(pixels), points, size, seen).softmax(dim=1)

    def many(self, images: Iterable[tuple[str, np.ndarray]], save: Collection[str]) -> Iterator[Prediction]:
        """Run the network on many images, given by name and pixels, in their order; they are read as needed.

        `save` says what to compute: labels, overlay, features, scores.
        """
        model = self.model
        labels = not {"labels", "overlay"}.isdisjoint(save)
        published = labels and model.tiling == "published"
        scores, features = "scores" in save or (labels and not published), "features" in save

        def predict(tiles: Tensor) -> Tensor:
            output = self.network(tiles)
            return torch.cat([output.logits] * scores + [output.features] * features, dim=1)

        found: Iterable[tuple[tuple[str, np.ndarray], Tensor]] = ((image, torch.empty(0)) for image in images)
        if scores or features:
            prepared = ((image, model.prepared(image[1])) for image in images)
            found = blended(predict, prepared, model.window, self.batch)
        for (name, pixels), maps in found:
            split = model.clusters * scores
            yield Prediction(
                name,
                pixels,
                resized_shape(pixels.shape, model.short_side),
                scores=maps[:split] if scores else None,
                features=maps[split:] if features else None,
                published=self._published(pixels) if published else None,
            )

    def _one(self, pixels: np.ndarray, kind: str) -> Prediction:
        return next(self.many([("", pixels)], {kind}))

    def _published(self, pixels: np.ndarray) -> np.ndarray:
        def predict(tiles: Tensor) -> Tensor:
            return self.network(tiles).logits

        image = self.model.prepared(pixels)
        return published_labels(predict, image, self.model.window, self.batch, pixels.shape[:2]).cpu().numpy()


def chosen_precision(model: "Model", precision: str) -> str:
    """The precision that auto selects for a model on its device.

    bfloat16 where the processor supports it, but float32 for models whose label maps must equal those of the authors'
    code.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if model.tiling == "aligned" and computes_bfloat16(model.device) else "float32"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; others emulate it, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public function for this; if a later version renames these, the answer is no.
    units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, unit, bool)() for unit in units)


@cache
def window_bytes(architecture: Architecture, side: int, dtype: torch.dtype) -> int:
    """Estimated memory in bytes for one window, weights excluded; runs on the meta device, so nothing is computed."""
    sizes: list[int] = []

    def measure(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        sizes.append(sum(part.numel() for part in (*inputs, output) if isinstance(part, Tensor)))

    with torch.device("meta"), torch.inference_mode():
        network = PSPNet(architecture).eval()
        for module in network.modules():
            module.register_forward_hook(measure)
        network(torch.empty(1, 3, side, side))
    return LIVE * max(sizes) * dtype.itemsize
