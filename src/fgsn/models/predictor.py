"""A network optimised for inference: batch norms folded into convolutions, channels last, optionally 16 bits."""

import copy
import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fgsn.models.pspnet import Output, PSPNet


class Predictor(nn.Module):
    """A copy of a network without its training parts: the same output up to rounding, faster.

    The network is not changed, and its later training does not affect the copy. `dtype` is the precision of the
    computation, except that the classifier always computes in float32: it costs next to nothing, and close scores would
    often become equal in 16 bits.
    """

    def __init__(self, network: PSPNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        parts = nn.ModuleDict({"backbone": network.backbone, "head": network.head})
        parts = _fold(copy.deepcopy(parts).eval()).to(dtype)
        parts = parts.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.backbone, self.head = parts["backbone"], parts["head"]
        self.classifier = copy.deepcopy(network.classifier)
        self.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Logits and features of normalised images, in float32."""
        images = images.to(self.dtype, memory_format=torch.channels_last)
        features = self.head(self.backbone(images)).float()
        return Output(self.classifier(functional.relu(features)), features)


def _fold(module: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a convolution of the same module into that convolution, in place.

    Subclasses do more than their base: timm's BatchNormAct2d includes an activation, its standardised convolutions
    change their weights. They stay as they are.
    """
    children = list(module.named_children())
    for (name, child), (following, norm) in itertools.pairwise(children):
        if type(child) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            setattr(module, name, fuse_conv_bn_eval(child, norm))
            setattr(module, following, nn.Identity())
    for _, child in children:
        _fold(child)
    return module
