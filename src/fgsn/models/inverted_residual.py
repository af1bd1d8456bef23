"""Light backbones of inverted residual blocks, in the layout of EfficientNet-Lite.

`lite` has exactly the layout of EfficientNet-Lite0 (3.4 M parameters without its classifier), so that its ImageNet
weights fit; `tiny` (0.3 M) is ours, for the synthetic town and for tests. Both return maps at strides 8, 16 and 32:
three cheap maps instead of one dilated map, with a fifth of the arithmetic at the same resolution.
Source of the block: Sandler et al., CVPR 2018.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from fgsn.models.backbones import Backbone, backbone
from fgsn.models.layers import ConvNorm

Stage = tuple[int, int, int, int, int]
"""Expansion, kernel, width, number of blocks, and stride, which only the first of them has."""


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added if shapes allow it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, eps=eps) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide, eps=eps)
        self.project = ConvNorm(wide, outputs, eps=eps)
        self.act = nn.ReLU6()
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y = x if self.expand is None else self.act(self.expand(x))
        y = self.project(self.act(self.depthwise(y)))
        return x + y if self.shortcut else y


class InvertedResidualNet(Backbone):
    """Stem and stages; `forward` returns the last map at each of the strides 8, 16 and 32."""

    aux = 1

    def __init__(self, stem: int, stages: tuple[Stage, ...], eps: float) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, 2, eps=eps)
        self.act = nn.ReLU6()
        blocks, width, stride, ends = [], stem, 2, {}
        for expansion, kernel, outputs, count, step in stages:
            for index in range(count):
                blocks.append(InvertedResidual(width, outputs, expansion, kernel, step if index == 0 else 1, eps))
                width = outputs
            stride *= step
            ends[stride] = (len(blocks) - 1, width)
        self.blocks = nn.ModuleList(blocks)
        self._ends = {ends[stride][0] for stride in (8, 16, 32)}
        self.channels = tuple(ends[stride][1] for stride in (8, 16, 32))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Maps at strides 8, 16 and 32."""
        x = self.act(self.stem(images))
        maps = []
        for index, block in enumerate(self.blocks):
            x = cast(nn.Module, block)(x)
            if index in self._ends:
                maps.append(x)
        return tuple(maps)


_LITE = (
    (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1),
)  # fmt: skip
_TINY = ((1, 3, 12, 1, 1), (4, 3, 20, 2, 2), (4, 3, 32, 3, 2), (4, 3, 64, 3, 2), (4, 3, 96, 2, 2))
backbone("lite")(lambda: InvertedResidualNet(32, _LITE, eps=1e-3))
backbone("tiny")(lambda: InvertedResidualNet(16, _TINY, eps=1e-5))
