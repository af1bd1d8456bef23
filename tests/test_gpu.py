"""Everything that takes --device, on a GPU that is only pretended (`pretended_gpu`): no tensors of two devices meet.

Not covered: what a pretended GPU cannot show, several GPUs, torch.compile, and the learned features and matchers.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import pretended_gpu
from fgsn.bench.gsmc import make_street_scene
from fgsn.bench.pfsl import CAMERA, STILL, make_filter
from fgsn.clustering.codebook import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.config import PrepareSettings, PretrainSettings, TrainSettings
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError
from fgsn.inference.model import load, prepare_device
from fgsn.inference.segmenter import Segmenter
from fgsn.models.model_file import read_model_file
from fgsn.training.pretrain import pretrain
from fgsn.training.train import train

CUDA = torch.device("cuda")
TRAIN = {
    "clusters": 4, "iterations": 2, "batch": 2, "crop": 65, "features_per_image": 24, "pca_dim": 8, "lr": 0.002,
    "validate_every": 2, "rounds": 1, "scales": (0.7, 1.0), "precision": "float32",
}  # fmt: skip
PAPER = {"scales": (1.0,), "whitening": "pca", "labels_from": "crop", "zoom": 0.0, "shift": 0.0}


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu.pretended_gpu(monkeypatch):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_dataset):
    root = make_dataset(tmp_path_factory.mktemp("data") / "set", places=4)
    prepare(PrepareSettings(dataset=root, validation_share=0.25))
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory, make_model):
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    make_model().save(path)
    return path


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)


def test_tensors_of_two_devices_do_not_meet(gpu):
    """The tests below could not fail otherwise."""
    here, there = torch.ones(2, 3), torch.ones(2, 3, device=CUDA)
    for mixed in (lambda: here + there, lambda: torch.cat([there, here]), lambda: there @ here.T, there.numpy):
        with pytest.raises((RuntimeError, TypeError)):
            mixed()
    assert (here.to(CUDA) + there).device == torch.device("cuda", 0)
    assert (here + there.cpu()).sum() == 12


@pytest.mark.parametrize("precision", ["float32", "bfloat16", None])
@pytest.mark.parametrize("tiling", ["aligned", "published"])
def test_segmentation(start, pixels, monkeypatch, precision, tiling):
    here = Segmenter(replace(load(start, "cpu"), tiling=tiling), precision)
    labels, features = here.labels(pixels), here.features(pixels)
    with pretended_gpu.pretended_gpu(monkeypatch):
        there = Segmenter(replace(load(start, "cuda"), tiling=tiling), precision)
        assert there.model.device.type == "cuda"
        assert np.array_equal(there.labels(pixels), labels)
        found = there.features(pixels)
        assert found.device.type == "cuda"
        np.testing.assert_allclose(found.cpu().numpy(), features.numpy(), rtol=1e-4, atol=1e-4)
        saved = {"labels", "features", "scores"}
        assert [one.labels().shape for one in there.many([("a", pixels), ("b", pixels)], saved)] == [(90, 150)] * 2
        assert there.probabilities_at(pixels, np.array([[3.0, 4.0], [149.0, 89.0]])).device.type == "cuda"
        assert (3, 90, 150) in map(tuple, pretended_gpu.PINNED)


def test_clustering_and_assignment(monkeypatch):
    samples = torch.randn(600, 12, generator=torch.Generator().manual_seed(0))
    here = Codebook.fit(samples, 7, pca_dim=6)
    with pretended_gpu.pretended_gpu(monkeypatch):
        there = Codebook.fit(samples.to(CUDA), 7, pca_dim=6)
        assert there.centroids.device.type == "cuda"
        labels = there.assign_tensor(samples.to(CUDA)).cpu().numpy()
        same, different = 0.1 * samples.to(CUDA), samples.to(CUDA)
        whitening = Whitening.fit_discriminative(samples.mean(dim=0).to(CUDA), same, different, 6)
        assert whitening(samples.to(CUDA)).device.type == "cuda"
        assert np.array_equal(here.to(CUDA).assign(samples.to(CUDA)), here.assign(samples))
    assert there.objective[-1] == pytest.approx(here.objective[-1], rel=1e-3)
    assert np.mean(labels == here.assign(samples)) > 0.99


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**PAPER, "gradient": "coin", "accumulate": 2, "rounds": 2},
        {"feature_weight": 0.5, "freeze_backbone": True, **PAPER},
    ],
)
def test_training(data, start, monkeypatch, tmp_path, changes):
    given = {"data": (data,), "init": start} | TRAIN | changes
    train(TrainSettings(**given, device="cpu", out=tmp_path / "cpu"))
    with pretended_gpu.pretended_gpu(monkeypatch):
        settings = TrainSettings(**given, device="cuda", out=tmp_path / "cuda")
        train(settings)
        train(replace(settings, resume=True))
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert (65, 65, 3) in {tuple(shape[1:]) for shape in pretended_gpu.PINNED}
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("cpu", "cuda")]
    here, there = ([row["loss"] for row in map(json.loads, lines) if "loss" in row] for lines in rows)
    assert len(here) == 1
    assert there == pytest.approx(here, rel=0.02)


def test_training_resumes(data, start, gpu, monkeypatch, tmp_path):
    settings = TrainSettings(data=(data,), init=start, out=tmp_path, device="cuda", save_every=1, **(TRAIN | PAPER))
    with monkeypatch.context() as patch:
        patch.setattr("fgsn.training.train._validate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(settings)
    assert read_model_file(tmp_path / "checkpoints" / "last.safetensors")[1]["step"] == 1
    assert train(replace(settings, resume=True))["best"]["step"] == 2


@pytest.mark.parametrize("loss", ["class", "hingeF"])
def test_pretraining(data, write_camvid, gpu, tmp_path, loss):
    settings = PretrainSettings(
        data=(f"camvid:{write_camvid(tmp_path / 'camvid')}",), corr_data=(data,), corr_loss=loss, out=tmp_path / "run",
        backbone="tiny", iterations=3, batch=2, crop=65, short_side=0, validate_every=2, device="cuda",
        precision="float32",
    )  # fmt: skip
    assert pretrain(settings)["pixel_accuracy"] >= 0
    assert pretrain(replace(settings, resume=True))["classes"] == 11


def test_gsmc(monkeypatch):
    here = make_street_scene(0, 30, 300, 0.3, "cpu").gsmc()()
    with pretended_gpu.pretended_gpu(monkeypatch):
        there = make_street_scene(0, 30, 300, 0.3, "cuda").gsmc()()
    np.testing.assert_allclose(there, here, atol=1e-6)
    assert here.max() > 0.2


def test_particle_filter(monkeypatch):
    def track(device):
        tracker, shown = make_filter(60, 200, 10, device)
        return [tracker.step(STILL, shown, CAMERA).pose.centre for _ in range(2)]

    here = track(torch.device("cpu"))
    with pretended_gpu.pretended_gpu(monkeypatch):
        np.testing.assert_allclose(track(CUDA), here, atol=1e-4)


def test_float32_means_float32_on_a_gpu(gpu):
    torch.backends.cudnn.allow_tf32 = True
    assert prepare_device("auto").type == "cuda"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_without_a_gpu_it_is_said_so():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(FgsnError, match="--device cuda: no GPU"):
        prepare_device("cuda")
