"""How pixels become network input; stored with the model, so that the input matches the training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fgsn.errors import FgsnError


@dataclass(frozen=True)
class Normalisation:
    """(pixel - mean) / std per channel, on values 0 to 255, channels in `order`."""

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "3 height width"]:
        """Normalise one RGB image."""
        return self.apply(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float())

    def apply(self, pixels: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
        """Normalise RGB values 0 to 255."""
        if self.order == "bgr":
            pixels = pixels.flip(-3)
        mean = pixels.new_tensor(self.mean)[:, None, None]
        std = pixels.new_tensor(self.std)[:, None, None]
        return (pixels - mean) / std

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Normalisation":
        """From the values in a model file, as `dataclasses.asdict` gives them; FgsnError if they make no sense."""
        try:
            mean, std = (tuple(float(x) for x in values[key]) for key in ("mean", "std"))
            order = values["order"]
        except (KeyError, TypeError, ValueError):
            raise FgsnError(f"the input normalisation {values} cannot be read") from None
        sensible = order in ("rgb", "bgr") and np.isfinite(mean + std).all()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not sensible:
            raise FgsnError(f"the input normalisation {values} is invalid")
        return cls(order, mean, std)


SIGNED = Normalisation("rgb", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
"""For our own networks and EfficientNet-Lite0."""
CAFFE = Normalisation("bgr", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
"""For the authors' networks."""
TORCHVISION = Normalisation("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""For torchvision's weights: means 0.485 0.456 0.406 and deviations 0.229 0.224 0.225 of 255."""
