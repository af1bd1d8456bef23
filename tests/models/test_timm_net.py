"""Networks of timm as backbones, with random weights: where their cells are, and what goes into the model file."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import fgsn
from fgsn.config import ImportSettings, PretrainSettings
from fgsn.errors import FgsnError, MissingExtraError, UsageError
from fgsn.inference.import_model import import_model
from fgsn.inference.model import Model
from fgsn.models import timm_net
from fgsn.models.backbones import build_backbone
from fgsn.models.layers import cells
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.training.pretrain import pretrain

CONVOLUTIONAL, PATCHES = "timm/test_resnet", "timm/test_convnext"
VIT = "timm/test_vit"


@pytest.fixture(autouse=True)
def there():
    if find_spec("timm") is None:  # importing it can stumble over torchvision
        pytest.skip("timm is not installed")


@pytest.mark.parametrize("name", [CONVOLUTIONAL, PATCHES, VIT])
def test_an_option_that_timm_does_not_know_is_an_error(name):
    with pytest.raises(FgsnError, match="no_such_option"):
        timm_net._created(timm_net._timm(), name, no_such_option=1)


@pytest.mark.parametrize("name", ["timm/resnet18", PATCHES, VIT, "timm/vit_tiny_patch16_dinov3_qkvb"])
@pytest.mark.parametrize("place", [(128, 96), (64, 120)])
def test_a_spot_is_seen_where_it_is(name, place):
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    image = torch.zeros(1, 3, 193, 201)
    spot = image.clone()
    spot[:, :, place[0] - 1 : place[0] + 2, place[1] - 1 : place[1] + 2] = 4.0
    with torch.no_grad():
        maps = [a - b for a, b in zip(backbone(spot), backbone(image), strict=True)]
    assert tuple(values.shape[1] for values in maps) == backbone.channels
    for values in maps:
        assert values.shape[2:] == (cells(193), cells(201))
    seen = maps[0].square().sum(dim=1)[0]
    found = [float((seen.sum(dim=1 - axis) * torch.arange(seen.shape[axis])).sum() / seen.sum() * 8) for axis in (0, 1)]
    assert found == pytest.approx(place, abs=5)  # a patch is 16 pixels wide


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tny", "timm has no network 'convnext_tny'; did you mean"),
        ("hf-hub:owner/name", "timm has no network 'hf-hub:owner/name'"),
        ("local-dir:/etc", "timm has no network"),
        ("", "timm has no network ''"),
        ("resnet18.mine", "timm has no weights 'mine' of resnet18"),
    ],
)
def test_only_names_of_timm(name, message):
    with pytest.raises(UsageError, match=message):
        build_backbone(f"timm/{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [("mixer_s32_224", "does not accept images of any size"), ("inception_v4", "do not cover the image")],
)
def test_networks_that_do_not_fit_are_told(name, message):
    with pytest.raises(FgsnError, match=message):
        build_backbone(f"timm/{name}")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    timm_net._timm.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'fgsn\[timm\]'"):
        build_backbone(VIT)


# DINOv3 and Swin hold tables that are computed when they are built, and are no weights.
@pytest.mark.parametrize("name", [CONVOLUTIONAL, VIT, "timm/vit_tiny_patch16_dinov3_qkvb"])
def test_the_model_file_holds_everything(name, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = PSPNet(Architecture(name, 5, feature_dim=16, aux_dim=8)).eval().requires_grad_(False)
    model = Model(network, timm_net.timm_normalisation(name), 0, 65, classes=tuple("abcde"))
    model.save(tmp_path / "model.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (72, 90, 3), dtype=np.uint8)

    def refuse(*_, **__):
        raise AssertionError("loading fetches nothing")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    again = fgsn.load(tmp_path / "model.safetensors", "cpu")
    assert (again.segment(image) == model.segment(image)).all()
    assert again.features(image) == pytest.approx(model.features(image), abs=1e-5)


def test_its_own_normalisation():
    assert timm_net.timm_normalisation("timm/convnext_tiny").mean == pytest.approx((123.675, 116.28, 103.53))
    assert timm_net.timm_normalisation(PATCHES).std == pytest.approx((127.5, 127.5, 127.5))


@pytest.fixture
def pretrained(monkeypatch):
    """Weights of a file that timm takes for downloaded ones."""
    weights = timm_net._timm().create_model("test_resnet").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(weights))
    return weights


def test_weights_that_timm_fetches(pretrained, tmp_path):
    results = import_model(ImportSettings(checkpoint=CONVOLUTIONAL, out=tmp_path / "start.safetensors"))
    assert results["backbone"] == CONVOLUTIONAL
    model = fgsn.load(tmp_path / "start.safetensors", "cpu")
    state = model.network.backbone.body.model.state_dict()
    assert len(state) > 20
    for name, value in state.items():
        assert torch.equal(value, pretrained[name])
    assert model.normalisation == timm_net.timm_normalisation(CONVOLUTIONAL)


def test_weights_that_cannot_be_fetched(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise FileNotFoundError("no connection,\nand nothing kept")

    timm_net._timm()  # the first import needs its guard, whichever test comes first
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(FgsnError, match="weights of timm/test_resnet cannot be downloaded: no connection, and nothing"):
        import_model(ImportSettings(checkpoint=CONVOLUTIONAL, out=tmp_path / "start.safetensors"))


@pytest.mark.parametrize("freeze", [True, False])
def test_training_with_the_backbone_frozen_or_not(freeze, pretrained, write_camvid, tmp_path):
    fast = {"iterations": 2, "batch": 2, "crop": 65, "short_side": 0, "device": "cpu", "weights": "timm"}
    data = (f"camvid:{write_camvid(tmp_path / 'camvid')}",)
    pretrain(PretrainSettings(data=data, out=tmp_path / "run", backbone=CONVOLUTIONAL, freeze_backbone=freeze, **fast))
    network = fgsn.load(tmp_path / "run", "cpu").network
    same = [torch.equal(value, pretrained[name]) for name, value in network.backbone.body.model.state_dict().items()]
    assert all(same) if freeze else not all(same)
    assert not torch.equal(network.head.last.bn.bias, torch.zeros_like(network.head.last.bn.bias))
    assert network.architecture.backbone == CONVOLUTIONAL


def test_weights_and_backbone_must_go_together(write_camvid, tmp_path):
    data = (f"camvid:{write_camvid(tmp_path / 'camvid')}",)
    with pytest.raises(FgsnError, match="--weights timm works with --backbone timm/NAME only"):
        pretrain(PretrainSettings(data=data, out=tmp_path / "run", backbone="tiny", weights="timm"))
