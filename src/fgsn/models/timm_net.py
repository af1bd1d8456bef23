"""Any timm network with feature maps as a backbone, `timm/NAME`: ConvNeXt, ResNet, DINOv2, DINOv3, Swin, …

timm's maps have a cell every 4 to 32 pixels; depending on the network, a cell is centred on a pixel or on a patch.
Three maps are sampled at our feature cells, on every eighth pixel.
"""

import difflib
import math
import warnings
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgsn.errors import FgsnError, MissingExtraError, UsageError, nearest, reason
from fgsn.models.backbones import Backbone
from fgsn.models.layers import STRIDE, cells
from fgsn.models.normalisation import Normalisation

PREFIX = "timm/"
MAPS = 3
SIZES: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""Arguments that allow images of any size; each of timm's families accepts one and rejects the others."""


class TimmNet(Backbone):
    """A timm network that returns three maps, each with a cell on every eighth pixel."""

    aux = 1

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        info = cast(Any, body).feature_info
        self.channels = tuple(info.channels())
        self._strides = tuple(int(stride) for stride in info.reduction())
        self._multiple = math.lcm(*self._strides)
        self._patches = _cuts_patches(body)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Three maps (B, C, h, w) from early to late."""
        height, width = images.shape[-2:]
        # Only complete patches become cells, and networks with several branches require sides that halve evenly.
        images = functional.pad(images, (0, -width % self._multiple, 0, -height % self._multiple), mode="replicate")
        found = self.body(images)
        return tuple(
            _sampled(values, stride, (stride - 1) / 2 if self._patches else 0.0, (height, width))
            for values, stride in zip(found, self._strides, strict=True)
        )


def _sampled(values: Tensor, stride: int, first: float, size: tuple[int, int]) -> Tensor:
    """Sample a map (B, C, h, w), whose cell c is at pixel first + stride · c, bilinearly at the pixels 0, 8, 16, …."""
    down, across = (
        _interpolation(count, cells(pixels), stride, first, values)
        for count, pixels in zip(values.shape[-2:], size, strict=True)
    )
    return down @ values @ across.T


def _interpolation(count: int, samples: int, stride: int, first: float, like: Tensor) -> Tensor:
    """Weights (samples, count) of a map's `count` cells in each sample, along one side."""
    position = (torch.arange(samples, device=like.device) * STRIDE - first) / stride
    distance = position.clamp(0, count - 1)[:, None] - torch.arange(count, device=like.device)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)


def _cuts_patches(body: nn.Module) -> bool:
    """Whether the network starts with non-overlapping patches (ViT, ConvNeXt, Swin)."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            return module.stride == module.kernel_size
    return True  # patches by other means: a linear layer on pixels, or pooling


def timm_backbone(name: str, pretrained: bool = False) -> TimmNet:
    """Build the backbone `timm/NAME`, optionally with timm's tag of the pretrained weights: `timm/NAME.TAG`.

    `pretrained` downloads timm's weights; otherwise they are random, and nothing is downloaded.

    Raises:
        UsageError: timm has no network of this name.
        FgsnError: it has no feature maps, accepts images of one size only, or its weights cannot be downloaded.
    """
    timm = _timm()
    _check_name(timm, name)
    with torch.device("meta"):  # inspect it without allocating memory
        maps = _three_maps(_created(timm, name).feature_info, name)
        words = {"features_only": True, "feature_cls": "getter", "out_indices": maps}
        _check_maps(_created(timm, name, **words), name)
    return TimmNet(_created(timm, name, pretrained=pretrained, **words))


def timm_normalisation(name: str) -> Normalisation:
    """The input normalisation of a timm network."""
    timm = _timm()
    _check_name(timm, name)
    config = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    mean, std = (tuple(255.0 * value for value in values) for values in (config.mean, config.std))
    return Normalisation("rgb", cast(Any, mean), cast(Any, std))


def _check_name(timm: Any, name: str) -> None:
    """Accept timm's own names only: other forms, such as `hf-hub:`, would download a configuration from elsewhere."""
    model, _, tag = name.removeprefix(PREFIX).partition(".")
    if not timm.is_model(model):
        raise UsageError(f"timm has no network '{model}'; {nearest(model, _similar_names(timm, model))}")
    tags = timm.list_pretrained(f"{model}.*")
    if tag and f"{model}.{tag}" not in tags:
        raise UsageError(f"timm has no weights '{tag}' of {model}; {nearest(f'{model}.{tag}', tags)}")


def _similar_names(timm: Any, model: str) -> list[str]:
    """The most similar of timm's names, or some well-known ones."""
    close = difflib.get_close_matches(model, timm.list_models(), n=1)
    return close or ["convnext_tiny", "resnet50", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"]


def _three_maps(info: list[dict[str, Any]], name: str) -> list[int]:
    """Indices of the maps to use: those with a cell every 8, 16 and 32 pixels, or at thirds of the depth."""
    coarse = [row for row, one in enumerate(info) if one["reduction"] >= STRIDE]
    if len(coarse) < MAPS:
        raise FgsnError(f"{name} has {len(coarse)} feature maps with a cell every 8 pixels or more; 3 are required")
    return [coarse[len(coarse) * (part + 1) // MAPS - 1] for part in range(MAPS)]


def _check_maps(body: Any, name: str) -> None:
    """Check that a network accepts images of any size, and that its maps cover the image."""
    multiple = math.lcm(*body.feature_info.reduction())
    size = (3 * multiple, 5 * multiple)
    try:
        maps = body.eval()(torch.empty(1, 3, *size))
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise FgsnError(f"{name} does not accept images of any size: {reason(error, 200)}") from None
    for values, stride in zip(maps, body.feature_info.reduction(), strict=True):
        if values.shape[-2:] != (size[0] // stride, size[1] // stride):
            raise FgsnError(f"the maps of {name} do not cover the image; choose another network")


def _created(timm: Any, name: str, **words: Any) -> Any:
    refused = ""
    for size in SIZES:
        try:
            return timm.create_model(name.removeprefix(PREFIX), **size, **words)
        except TypeError as error:
            refused = reason(error, 200)
        except OSError as error:  # of the connection, or of the download cache
            raise FgsnError(f"the weights of {name} cannot be downloaded: {reason(error, 200)}") from None
        except (RuntimeError, ValueError, AssertionError, AttributeError, NotImplementedError) as error:
            raise FgsnError(f"{name} cannot be a backbone: {reason(error, 200)}") from None
    raise FgsnError(f"{name} cannot be a backbone: {refused}")


@cache
def _timm() -> Any:
    """The package timm, even if the installed torchvision does not work; MissingExtraError if it is not installed."""
    try:
        with warnings.catch_warnings(action="ignore"):
            _import_torchvision()
            import timm
    except ImportError:
        raise MissingExtraError("timm", "timm") from None
    return timm


_declared: list[torch.library.Library] = []  # kept alive: declarations vanish with their library


def _import_torchvision() -> None:
    """Import torchvision, which timm imports and which fails if its operators were built for another torch.

    timm's networks use none of these operators. Those required by the import are declared without an implementation.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise FgsnError(
                f"torchvision, which timm imports, does not match this torch: {reason(error, 200)}"
            ) from None
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision  # noqa: F401
