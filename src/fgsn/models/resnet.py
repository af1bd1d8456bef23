"""ResNet-101 as PSPNet uses it: dilated, a cell every 8 pixels, in the layout of the authors' network.

Deep stem (three convolutions, 64-64-128), blocks 3-4-23-3, the stride in the first 1x1 of a stage (Caffe's way),
dilation 2 and 4 in the last two stages. Sources: He et al., CVPR 2016; Zhao et al., CVPR 2017; METHOD section 2.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from fgsn.models.backbones import Backbone, backbone
from fgsn.models.layers import ConvNorm


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 increase, added to the (projected) input."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        middle = outputs // 4
        self.reduce = ConvNorm(inputs, middle, 1, stride)
        self.conv3x3 = ConvNorm(middle, middle, 3, dilation=dilation)
        self.increase = ConvNorm(middle, outputs)
        self.proj = ConvNorm(inputs, outputs, 1, stride) if project else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y = self.act(self.reduce(x))
        y = self.increase(self.act(self.conv3x3(y)))
        return self.act(y + (x if self.proj is None else self.proj(x)))


class DilatedResNet(Backbone):
    """Returns the maps of the fourth and the fifth stage, both with a cell every 8 pixels."""

    channels = (1024, 2048)
    aux = 0

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            OrderedDict(
                conv1=ConvNorm(3, 64, 3, 2),
                relu1=nn.ReLU(inplace=True),
                conv2=ConvNorm(64, 64, 3),
                relu2=nn.ReLU(inplace=True),
                conv3=ConvNorm(64, 128, 3),
                relu3=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(3, 2, padding=1),
            )
        )
        self.layer2 = _stage(128, 256, blocks[0], stride=1, dilation=1)
        self.layer3 = _stage(256, 512, blocks[1], stride=2, dilation=1)
        self.layer4 = _stage(512, 1024, blocks[2], stride=1, dilation=2)
        self.layer5 = _stage(1024, 2048, blocks[3], stride=1, dilation=4)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Maps of the last two stages."""
        fourth = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return fourth, self.layer5(fourth)


@backbone("resnet101")
def resnet101() -> DilatedResNet:
    """The backbone of the paper."""
    return DilatedResNet((3, 4, 23, 3))


@backbone("resnet50")
def resnet50() -> DilatedResNet:
    """The same with fewer blocks."""
    return DilatedResNet((3, 4, 6, 3))


def _stage(inputs: int, outputs: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = Bottleneck(inputs, outputs, stride, dilation, project=True)
    rest = [Bottleneck(outputs, outputs, 1, dilation, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(OrderedDict((f"block{index}", block) for index, block in enumerate([first, *rest], start=1)))
