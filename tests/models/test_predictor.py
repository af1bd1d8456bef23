"""The network that only predicts says what the trained one says."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from fgsn.models.predictor import Predictor
from fgsn.models.pspnet import Architecture, PSPNet


def network_of(backbone):
    torch.manual_seed(0)
    network = PSPNet(Architecture(backbone, 7, feature_dim=32, aux_dim=8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 33, 33))
    return network.eval()


@pytest.mark.parametrize("backbone", ["tiny", "resnet50", "resnet50-torchvision"])
def test_folding_changes_nothing_but_rounding(backbone):
    network = network_of(backbone)
    images = torch.randn(2, 3, 41, 49)
    with torch.no_grad():
        expected, found = network(images), Predictor(network)(images)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-3 * float(expected.logits.std()))
    torch.testing.assert_close(found.features, expected.features, rtol=1e-3, atol=1e-3 * float(expected.features.std()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in Predictor(network).modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


FAMILIES = (
    "efficientnet_b0", "tf_efficientnetv2_b0", "mobilenetv2_100", "mobilenetv3_small_100", "regnetx_002", "resnet18",
    "ghostnet_100", "hrnet_w18_small", "resnetv2_50", "densenet121",
)  # fmt: skip
SLOW = {"efficientnet_b0", "mobilenetv2_100", "resnet18", "hrnet_w18_small", "densenet121"}
"""Built of the parts that the others have."""


@pytest.mark.parametrize("family", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in FAMILIES])
def test_timm_families_predict_what_they_were_trained_to(family):
    """Their blocks have batch norms with an activation inside, and convolutions that standardise their weights."""
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    network = network_of(f"timm/{family}").double()  # random weights of so many layers amplify rounding
    images = torch.randn(2, 3, 97, 97, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        predictor = Predictor(network, torch.float64)
        predictor.classifier.float()
        found = predictor(images)
    assert (found.logits.argmax(dim=1) == expected.logits.argmax(dim=1)).float().mean() >= 0.999
    features = expected.features.float()
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-4 * float(features.std()))


def test_in_16_bits_scores_are_near_and_float32():
    network = network_of("tiny")
    images = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        expected, found = network(images), Predictor(network, torch.bfloat16)(images)
    assert found.logits.dtype == found.features.dtype == torch.float32
    off = (found.logits - expected.logits).abs().mean() / expected.logits.std()
    assert 0 < off < 0.05


def test_what_the_network_learns_later_is_not_seen():
    network = network_of("tiny")
    predictor, images = Predictor(network), torch.randn(1, 3, 33, 33)
    before = predictor(images).logits
    with torch.no_grad():
        network.classifier.bias.add_(1)
        network.backbone.stem.conv.weight.zero_()
    assert torch.equal(predictor(images).logits, before)
