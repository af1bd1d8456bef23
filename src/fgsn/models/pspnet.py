"""PSPNet: pyramid pooling on a backbone, features tapped before their ReLU, a main and an auxiliary classifier.

Zhao et al., CVPR 2017; features as in Larsson et al., ICCV 2019. Two heads share one interface:
the authors' for dilated backbones (ResNet), and a light one that merges the strides 8, 16 and 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgsn.errors import FgsnError
from fgsn.models.backbones import build_backbone
from fgsn.models.layers import ConvNorm, resize_map


@dataclass(frozen=True)
class Architecture:
    """Everything needed to rebuild the network; stored in the model file."""

    backbone: str
    classes: int
    feature_dim: int = 512
    aux_dim: int = 256

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        """From the values in a model file, as `dataclasses.asdict` gives them; FgsnError if they make no sense."""
        try:
            made = cls(**values)
        except TypeError:
            raise FgsnError(f"the architecture {values} is unknown to this version") from None
        numbers = (made.classes, made.feature_dim, made.aux_dim)
        if not isinstance(made.backbone, str) or not all(isinstance(n, int) and 0 < n <= 65536 for n in numbers):
            raise FgsnError(f"the architecture {values} is invalid")
        return made


class Output(NamedTuple):
    """Output of the network for a batch; maps have a cell every 8 pixels."""

    logits: Float[Tensor, "batch classes height width"]
    features: Float[Tensor, "batch dim height width"]
    """Output of the last convolution and its batch norm, before the ReLU: the features that are clustered."""
    aux_logits: Float[Tensor, "batch classes height width"] | None = None
    aux_features: Float[Tensor, "batch aux_dim height width"] | None = None


class DropoutMasks(NamedTuple):
    """Factor of each channel of each image in training: 0 if dropped, else 1 / (1 - p) for dropout probability p."""

    features: Float[Tensor, "batch dim 1 1"]
    aux_features: Float[Tensor, "batch aux_dim 1 1"]


class PSPNet(nn.Module):
    """Backbone, pyramid pooling, two classifiers."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        backbone = build_backbone(architecture.backbone)
        head = PyramidHead if len(backbone.channels) == 2 else MergingHead
        self.backbone = backbone
        self.head = head(backbone.channels, architecture)
        self.aux = AuxHead(backbone.channels[backbone.aux], architecture.aux_dim)
        self._aux_map = backbone.aux
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(architecture.feature_dim, architecture.classes, 1)
        self.aux_classifier = nn.Conv2d(architecture.aux_dim, architecture.classes, 1)

    def forward(self, images: Float[Tensor, "batch 3 height width"], masks: DropoutMasks | None = None) -> Output:
        """Logits and features of normalised images; the auxiliary ones only in training mode.

        There, `masks` are rows of `draw_dropout_masks` for these images; None draws new ones.
        """
        maps = self.backbone(images)
        features = self.head(maps)
        logits = self.classifier(self._dropped(features, masks and masks.features))
        if not self.training:
            return Output(logits, features)
        aux = self.aux(maps[self._aux_map], features.shape[-2:])
        return Output(logits, features, self.aux_classifier(self._dropped(aux, masks and masks.aux_features)), aux)

    def draw_dropout_masks(self, images: int, generator: torch.Generator) -> DropoutMasks:
        """Draw the dropout masks of a batch of images in training, as `nn.Dropout2d` does with that generator."""
        keep = 1.0 - self.dropout.p
        dims = self.architecture.feature_dim, self.architecture.aux_dim
        empty = (torch.empty(images, dim, 1, 1) for dim in dims)
        return DropoutMasks(*(mask.bernoulli_(keep, generator=generator).div_(keep) for mask in empty))

    def _dropped(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """The features after their ReLU and, in training, dropout."""
        features = functional.relu(features)
        return self.dropout(features) if mask is None else features * mask.to(features)

    def reset_classifiers(self, classes: int, generator: torch.Generator) -> None:
        """Replace both classifiers by new ones for `classes` labels: weights N(0, 0.01), bias 0."""
        self.architecture = replace(self.architecture, classes=classes)
        for name in ("classifier", "aux_classifier"):
            layer: nn.Conv2d = getattr(self, name)
            if layer.out_channels != classes:
                layer = nn.Conv2d(layer.in_channels, classes, 1).to(layer.weight.device)
                setattr(self, name, layer)
            with torch.no_grad():
                layer.weight.copy_(torch.empty(layer.weight.shape).normal_(0.0, 0.01, generator=generator))
                assert layer.bias is not None
                layer.bias.zero_()

    def train(self, mode: bool = True) -> "PSPNet":
        """Switch to training mode, except for frozen batch norms and a frozen backbone."""
        super().train(mode)
        if mode and getattr(self, "frozen_backbone", False):
            self.backbone.eval()
        if mode and getattr(self, "frozen_norms", False):
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def freeze_norms(self) -> None:
        """Freeze the running statistics of all batch norms."""
        self.frozen_norms = True
        self.train(self.training)

    def freeze_backbone(self) -> None:
        """Freeze the backbone; only the heads are trained."""
        self.frozen_backbone = True
        self.backbone.requires_grad_(False)
        self.train(self.training)


class PyramidPooling(nn.Module):
    """The map itself and its averages over 6x6, 3x3, 2x2 and 1 bins, each reduced by a 1x1 and upsampled."""

    bins = (6, 3, 2, 1)

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(ConvNorm(inputs, width) for _ in self.bins)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C + 4 width, h, w)."""
        pooled = [
            resize_map(functional.relu(stage(functional.adaptive_avg_pool2d(x, bins))), x.shape[-2:])
            for bins, stage in zip(self.bins, self.stages, strict=True)
        ]
        return torch.cat([x, *pooled], dim=1)


class PyramidHead(nn.Module):
    """The authors' head: pyramid pooling of the last map and a 3x3 convolution to the features."""

    def __init__(self, channels: tuple[int, ...], architecture: Architecture) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels[-1], channels[-1] // 4)
        self.last = ConvNorm(2 * channels[-1], architecture.feature_dim, 3)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Features (B, dim, h, w), before their ReLU."""
        return self.last(self.pooling(maps[-1]))


class MergingHead(nn.Module):
    """Light head: pyramid pooling of the coarsest map; maps of all strides, narrowed, are merged at stride 8."""

    def __init__(self, channels: tuple[int, ...], architecture: Architecture) -> None:
        super().__init__()
        width = max(32, architecture.feature_dim // 4)
        coarsest = channels[-1]
        self.pooling = PyramidPooling(coarsest, width // 2)
        inputs = (*channels[:-1], coarsest + 2 * width)
        self.narrow = nn.ModuleList(ConvNorm(n, width) for n in inputs)
        merged = width * len(channels)
        # A 3x3 convolution split into a depthwise one and a 1x1: a ninth of the arithmetic at stride 8.
        self.spread = ConvNorm(merged, merged, 3, groups=merged)
        self.last = ConvNorm(merged, architecture.feature_dim)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Features (B, dim, h, w) at the resolution of the first map, before their ReLU."""
        size = maps[0].shape[-2:]
        maps = (*maps[:-1], self.pooling(maps[-1]))
        narrow = [resize_map(functional.relu(layer(x)), size) for layer, x in zip(self.narrow, maps, strict=True)]
        return self.last(functional.relu(self.spread(torch.cat(narrow, dim=1))))


class AuxHead(nn.Module):
    """3x3 convolution on an earlier map; supervises the lower layers directly."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, width, 3)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Auxiliary features (B, width, *size), before their ReLU."""
        return resize_map(self.conv(x), size)
