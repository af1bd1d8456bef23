"""ResNet as PSPNet uses it: dilated, a cell every 8 pixels, in the layouts for which weights exist.

`resnet101`: the authors' network. Deep stem (three convolutions, 64-64-128), blocks 3-4-23-3, the stride in the first
1x1 of a stage (Caffe's way), dilation 2 and 4 in the last two stages.
`resnet101-plain`: the authors' `use_original_base`. One 7x7 convolution as stem, otherwise the same.
`resnet101-torchvision`: one 7x7 convolution, the stride in the 3x3, every dilation one block later: the network of
torchvision's weights. The authors loaded those weights into `resnet101-plain`.
Sources: He et al., CVPR 2016; Zhao et al., CVPR 2017.
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


backbone("resnet101")(lambda: DilatedResNet((3, 4, 23, 3)))
backbone("resnet50")(lambda: DilatedResNet((3, 4, 6, 3)))


def _stage(inputs: int, outputs: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = Bottleneck(inputs, outputs, stride, dilation, project=True)
    rest = [Bottleneck(outputs, outputs, 1, dilation, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(OrderedDict((f"block{index}", block) for index, block in enumerate([first, *rest], start=1)))


class PlainBottleneck(nn.Module):
    """The block of the original ResNet, named as in torchvision's weights."""

    def __init__(self, inputs: int, outputs: int, strides: tuple[int, int], dilation: int, project: bool) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1 = nn.Conv2d(inputs, middle, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, strides[1], dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)
        self.downsample = None
        if project:
            stride = strides[0] * strides[1]
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.act(y + (x if self.downsample is None else self.downsample(x)))


class PlainResNet(Backbone):
    """The original ResNet, dilated: the strides of the last two stages are replaced by dilations 2 and 4.

    `published` is the authors' variant (stride in the 1x1, a stage dilated from its first block on), else it is
    torchvision's (stride in the 3x3; the first block of a stage keeps the dilation of the previous stage, so that
    features equal those of the strided network).
    """

    channels = (1024, 2048)
    aux = 0

    def __init__(self, blocks: tuple[int, int, int, int], published: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        halving = (2, 1) if published else (1, 2)
        self.layer1 = _plain_stage(64, 256, blocks[0], (1, 1), first=1, rest=1)
        self.layer2 = _plain_stage(256, 512, blocks[1], halving, first=1, rest=1)
        self.layer3 = _plain_stage(512, 1024, blocks[2], (1, 1), first=2 if published else 1, rest=2)
        self.layer4 = _plain_stage(1024, 2048, blocks[3], (1, 1), first=4 if published else 2, rest=4)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Maps of the last two stages."""
        stem = self.pool(self.act(self.bn1(self.conv1(images))))
        third = self.layer3(self.layer2(self.layer1(stem)))
        return third, self.layer4(third)


backbone("resnet101-plain")(lambda: PlainResNet((3, 4, 23, 3), published=True))
backbone("resnet101-torchvision")(lambda: PlainResNet((3, 4, 23, 3), published=False))
backbone("resnet50-torchvision")(lambda: PlainResNet((3, 4, 6, 3), published=False))


def _plain_stage(
    inputs: int, outputs: int, blocks: int, strides: tuple[int, int], first: int, rest: int
) -> nn.Sequential:
    others = [PlainBottleneck(outputs, outputs, (1, 1), rest, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(PlainBottleneck(inputs, outputs, strides, first, project=True), *others)
