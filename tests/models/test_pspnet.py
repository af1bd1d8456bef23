"""The network: the reference implementation's outputs, shapes, frozen norms and fresh classifiers."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.errors import FgsnError, UsageError
from fgsn.models import backbones
from fgsn.models.layers import cells
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet

GOLDEN = np.load(Path(__file__).with_name("golden_forward.npz"))
# How the parts of our network are called in the reference implementation, on whose names the weights depend.
THEIRS = (
    ("backbone.", "fcn."),
    ("head.pooling.stages.", "ppm.stages."),
    ("head.last.", "final.conv5_4."),
    ("aux_classifier.", "conv6_1."),
    ("aux.conv.", "aux.conv4_aux."),
    ("classifier.", "conv6."),
)


# Ranges of the golden weights; those of convolutions depend on their fan-in.
RANGES = {"running_var": (0.5, 1.5), "running_mean": (-0.2, 0.2), "weight": (0.4, 0.8), "bias": (-0.2, 0.2)}


def their_name(name):
    ours, theirs = next(pair for pair in THEIRS if name.startswith(pair[0]))
    rest = name.removeprefix(ours)
    return theirs + (rest.replace(".", ".conv.", 1) if "ppm" in theirs else rest)


@pytest.fixture(scope="module")
def reference_network(golden):
    """The authors' network with one or two blocks a stage, and weights by the golden rule."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones._BUILDERS, "mini", lambda: DilatedResNet((1, 1, 2, 1)))
        network = PSPNet(Architecture("mini", 100))
    state = {their_name(name): value for name, value in network.state_dict().items() if "num_batches" not in name}
    for seed, name in enumerate(sorted(state)):
        value = state[name]
        bound = (6 / max(1, value[0].numel())) ** 0.5
        low, high = (-bound, bound) if value.ndim == 4 else RANGES[name.rpartition(".")[2]]
        value.copy_(torch.from_numpy(golden(seed, tuple(value.shape), low, high)))
    network.freeze_norms()
    return network


def golden_input(golden, seed, *shape):
    return torch.from_numpy(golden(seed, shape, -2.0, 2.0)).float()


@torch.no_grad()
def test_features_and_logits_are_those_of_the_reference_implementation(reference_network, golden):
    output = reference_network.eval()(golden_input(golden, 301, 1, 3, 97, 97))
    assert output.aux_logits is None
    np.testing.assert_allclose(output.features[:, ::32], GOLDEN["features"], atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(output.logits[:, ::5], GOLDEN["logits"], atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_images_that_are_not_square_too(reference_network, golden):
    logits = reference_network.eval()(golden_input(golden, 302, 1, 3, 90, 122)).logits
    np.testing.assert_allclose(logits[:, ::5], GOLDEN["logits_90x122"], atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_the_auxiliary_head_is_that_of_the_reference_implementation(reference_network, golden):
    network = reference_network.train()
    network.dropout.p = 0.0
    output = network(golden_input(golden, 301, 1, 3, 97, 97))
    np.testing.assert_allclose(output.features[:, ::32], GOLDEN["features"], atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(output.aux_features[:, ::32], GOLDEN["aux_features"], atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(output.aux_logits[:, ::5], GOLDEN["aux_logits"], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("pixels", "expected"), [(1, 1), (8, 1), (9, 2), (97, 13), (713, 90), (1024, 128)])
def test_number_of_cells(pixels, expected):
    assert cells(pixels) == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_there_is_a_cell_every_8_pixels_whatever_the_size(height, width):
    network = PSPNet(Architecture("tiny", 7, feature_dim=16, aux_dim=8))
    network.freeze_norms()
    with torch.no_grad():
        output = network.train()(torch.zeros(1, 3, height, width))
    assert output.features.shape == (1, 16, -(-height // 8), -(-width // 8))
    assert output.logits.shape == output.aux_logits.shape == (1, 7, -(-height // 8), -(-width // 8))
    assert output.aux_features.shape == (1, 8, -(-height // 8), -(-width // 8))


def test_lite_has_a_cell_every_8_pixels():
    with torch.no_grad():
        output = PSPNet(Architecture("lite", 19)).eval()(torch.zeros(1, 3, 65, 90))
    assert output.logits.shape == (1, 19, 9, 12)
    assert output.features.shape == (1, 512, 9, 12)


def test_cell_c_looks_at_the_surroundings_of_pixel_8_c():
    torch.manual_seed(0)
    image = torch.randn(1, 3, 209, 209, requires_grad=True)
    fine = PSPNet(Architecture("tiny", 3, feature_dim=16, aux_dim=8)).eval().backbone(image)[0]
    assert fine.shape[-2:] == (27, 27)
    for row, column in ((13, 13), (9, 15)):
        gradient = torch.autograd.grad(fine[0, :, row, column].square().sum(), image, retain_graph=True)[0]
        seen = gradient.abs().sum(dim=(0, 1)).nonzero()
        middle = (seen.min(dim=0).values + seen.max(dim=0).values) / 2
        assert middle.tolist() == pytest.approx([8 * row, 8 * column], abs=1)


def test_frozen_norms_stay_in_training_and_the_others_do_not():
    torch.manual_seed(0)
    network = PSPNet(Architecture("tiny", 3, feature_dim=16, aux_dim=8))
    images = torch.randn(2, 3, 65, 65)
    means = {name: value.clone() for name, value in network.state_dict().items() if "running_mean" in name}
    network.freeze_norms()
    network.train()(images)
    assert network.classifier.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in means.items())
    network.frozen_norms = False
    network.train()(images)
    assert not any(torch.equal(network.state_dict()[name], value) for name, value in means.items())


@pytest.mark.parametrize("classes", [2, 5, 256, 300, 4096])
def test_fresh_classifiers(classes):
    network = PSPNet(Architecture("tiny", 5, feature_dim=64, aux_dim=32))
    body = [value.clone() for name, value in network.state_dict().items() if "classifier" not in name]
    network.reset_classifiers(classes, torch.Generator().manual_seed(1))
    assert network.architecture.classes == classes
    for layer, width in ((network.classifier, 64), (network.aux_classifier, 32)):
        assert layer.weight.shape == (classes, width, 1, 1)
        assert layer.weight.device == network.backbone.stem.conv.weight.device
        assert layer.weight.requires_grad
        assert layer.bias.count_nonzero() == 0
        # Within five standard errors of N(0, 0.01).
        assert layer.weight.std().item() == pytest.approx(0.01, rel=5 / (2 * layer.weight.numel()) ** 0.5)
        assert abs(layer.weight.mean().item()) < 5 * 0.01 / layer.weight.numel() ** 0.5
    after = [value for name, value in network.state_dict().items() if "classifier" not in name]
    assert all(torch.equal(a, b) for a, b in zip(body, after, strict=True))


def test_fresh_classifiers_of_seed_0_are_theirs():
    network = PSPNet(Architecture("tiny", 5, feature_dim=512, aux_dim=256))
    network.reset_classifiers(100, torch.Generator().manual_seed(0))
    theirs = (
        [-0.011258398182690144, -0.011523601599037647, -0.002505785785615444, -0.004338787868618965],
        [-0.003290641587227583, 0.01366405189037323, -0.011590229347348213, -0.015438792295753956],
    )
    for layer, first in zip((network.classifier, network.aux_classifier), theirs, strict=True):
        np.testing.assert_allclose(layer.weight.detach().flatten()[:4], first, atol=1e-12)


def test_fresh_classifiers_differ_from_seed_to_seed_only():
    made = []
    for seed in (1, 1, 2):
        network = PSPNet(Architecture("tiny", 5, feature_dim=16, aux_dim=8))
        network.reset_classifiers(9, torch.Generator().manual_seed(seed))
        made.append(network.classifier.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_number_of_labels_does_not_cost_dropout_in_evaluation():
    network = PSPNet(Architecture("tiny", 5, feature_dim=16, aux_dim=8)).eval()
    image = torch.randn(1, 3, 65, 65)
    assert torch.equal(network(image).logits, network(image).logits)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UsageError, match="unknown backbone 'resnet1O1'; did you mean 'resnet101'"):
        PSPNet(Architecture("resnet1O1", 5))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"backbone": "tiny"},
        {"backbone": 3, "classes": 5},
        {"backbone": "tiny", "classes": "5"},
        {"backbone": "tiny", "classes": 0},
        {"backbone": "tiny", "classes": 5, "feature_dim": 10**9},
        {"backbone": "tiny", "classes": 5, "layers": 4},
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused(values):
    with pytest.raises(FgsnError, match=r"^the architecture .*(is invalid|is unknown to this version)$"):
        Architecture.from_dict(values)


def test_an_architecture_survives_as_plain_values():
    made = Architecture("lite", 300, feature_dim=128, aux_dim=64)
    assert Architecture.from_dict(asdict(made)) == made
