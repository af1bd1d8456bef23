"""Imported weights: networks reproduce the authors' outputs, and unsafe or broken files are refused."""

import functools
import hashlib
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fgsn.errors import FgsnError
from fgsn.models import backbones
from fgsn.models.imported_weights import (
    OLD_CLASSIFIERS,
    published_name,
    published_network,
    read_published_codebook,
    read_weights,
    torchvision_backbone,
)
from fgsn.models.layers import resize_map
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet, PlainResNet

GOLDEN = np.load(Path(__file__).with_name("golden_published.npz"))
MINI = {
    "resnet-mini": lambda: DilatedResNet((1, 1, 2, 1)),
    "resnet-mini-plain": lambda: PlainResNet((1, 1, 2, 1), True),
}
NETWORKS = {"mini_dilated": "resnet-mini", "mini_orig": "resnet-mini-plain"}
FULL = {"r101_dilated": "resnet101", "r101_orig": "resnet101-plain"}
CLOSE = {"atol": 2e-4, "rtol": 1e-4}
RANGES = {"running_var": (0.5, 1.5), "running_mean": (-0.2, 0.2), "weight": (0.4, 0.8), "bias": (-0.2, 0.2)}


@pytest.fixture(autouse=True)
def mini_networks(monkeypatch):
    for name, build in MINI.items():
        monkeypatch.setitem(backbones._BUILDERS, name, build)


@functools.cache
def golden_weights(backbone, golden):
    """A state dict of the authors' network with the golden data's key names, shapes and filling rule."""
    with torch.device("meta"):
        ours = PSPNet(Architecture(backbone, 100)).state_dict()
    shapes = {published_name(name): value.shape for name, value in ours.items() if "num_batches" not in name}
    weights = {}
    for seed, name in enumerate(sorted(shapes)):
        bound = (6 / np.prod(shapes[name][1:])) ** 0.5 if len(shapes[name]) == 4 else 0
        low, high = (-bound, bound) if bound else RANGES[name.rpartition(".")[2]]
        weights[name] = torch.from_numpy(golden(seed, tuple(shapes[name]), low, high).astype(np.float32))
    return weights


# Golden 3: how many names and trained numbers there are, and the SHA-256 of the lines "name shape".
NAMES = {
    "resnet101": (676, 68134536, "12e5c413e41bf953484f9ddbaf339cb7b31af03b4178ee15da1e333c6a186092"),
    "resnet101-plain": (664, 68010760, "958f88f9fc9b53d8e6587a43926c9630e6c81c9fa4b167f850a4d6221650a6f2"),
}


@pytest.mark.parametrize("backbone", NAMES)
def test_names_and_shapes_of_weights_are_theirs(backbone):
    with torch.device("meta"):
        network = PSPNet(Architecture(backbone, 100))
    lines = sorted(f"{published_name(name)} {list(value.shape)}" for name, value in network.state_dict().items())
    trained = sum(value.numel() for value in network.parameters())
    assert (len(lines), trained, hashlib.sha256("\n".join(lines).encode()).hexdigest()) == NAMES[backbone]


def test_the_plain_base_has_the_names_that_torchvision_gives_a_resnet101():
    """Theirs copies 520 weights by name and divides the first by 255; ours keeps them and feeds them what they know."""
    with torch.device("meta"):
        plain, torchvision = (backbones.build_backbone(f"resnet101-{kind}") for kind in ("plain", "torchvision"))
    shapes = [{name: value.shape for name, value in base.state_dict().items() if "num_batches" not in name}
              for base in (plain, torchvision)]  # fmt: skip
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 520


def inputs(golden, seed, *shape):
    return torch.from_numpy(golden(seed, shape, -2.0, 2.0).astype(np.float32))


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    yield
    golden_weights.cache_clear()


@pytest.fixture
def imported(golden, tmp_path):
    """The authors' network read back from a checkpoint."""

    def read(case):
        torch.save(golden_weights((NETWORKS | FULL)[case], golden), tmp_path / "theirs.pth")
        network = published_network(read_weights(tmp_path / "theirs.pth"), tmp_path / "theirs.pth")
        network.requires_grad_(False).freeze_norms()
        return network

    return read


@pytest.mark.parametrize("case", [*NETWORKS, "r101_dilated", pytest.param("r101_orig", marks=pytest.mark.slow)])
def test_an_imported_network_computes_what_theirs_does(case, imported, golden):
    network = imported(case)
    assert network.architecture.backbone == (NETWORKS | FULL)[case]
    x = inputs(golden, 301, 1, 3, 97, 97)
    output = network.eval()(x)
    np.testing.assert_allclose(output.features[0, ::32], GOLDEN[f"{case}_features"], **CLOSE)
    np.testing.assert_allclose(output.logits[0, ::10], GOLDEN[f"{case}_logits"], **CLOSE)
    # The form for segmentation spreads its scores over the pixels.
    spread = resize_map(output.logits, (97, 97))
    np.testing.assert_allclose(spread[0, ::20, ::6, ::6], GOLDEN[f"{case}_upsampled"], **CLOSE)
    assert (spread.argmax(dim=1)[0, ::3, ::3].numpy() == GOLDEN[f"{case}_argmax"]).mean() >= 0.995
    network.dropout.p = 0.0
    output = network.train()(x)
    np.testing.assert_allclose(output.aux_features[0, ::32], GOLDEN[f"{case}_aux_features"], **CLOSE)
    np.testing.assert_allclose(output.aux_logits[0, ::10], GOLDEN[f"{case}_aux_logits"], **CLOSE)
    spread = resize_map(output.aux_logits, (97, 97))
    np.testing.assert_allclose(spread[0, ::20, ::6, ::6], GOLDEN[f"{case}_upsampled_aux"], **CLOSE)


@pytest.mark.parametrize("case", NETWORKS)
def test_images_that_are_not_square(case, imported, golden):
    logits = imported(case).eval()(inputs(golden, 302, 1, 3, 90, 122)).logits
    np.testing.assert_allclose(logits[0, ::10], GOLDEN[f"{case}_logits_90x122"], **CLOSE)


@pytest.mark.parametrize("case", ["mini_dilated", pytest.param("mini_orig", marks=pytest.mark.slow)])
def test_a_window_of_full_size(case, imported, golden):
    logits = imported(case).eval()(inputs(golden, 304, 1, 3, 713, 713)).logits
    stored = GOLDEN[f"{case}_713"]
    np.testing.assert_allclose(logits[0, :: 100 // len(stored), ::6, ::6], stored, **CLOSE)


@pytest.mark.parametrize("case", NETWORKS)
def test_dropout_draws_as_theirs(case, imported, golden):
    """Theirs draws for the auxiliary head first, ours for the main one."""
    network = imported(case).train()
    torch.manual_seed(0)
    kept = network.dropout(torch.ones(1, 256, 1, 1))[0, :, 0, 0]
    np.testing.assert_array_equal((kept == 0).nonzero()[:, 0], GOLDEN[f"{case}_dropped_aux"])
    output = network(inputs(golden, 301, 1, 3, 97, 97))
    np.testing.assert_allclose(output.logits[0, ::20], GOLDEN[f"{case}_dropout_logits"], **CLOSE)


@pytest.mark.parametrize("case", NETWORKS)
def test_norms_that_learn(case, imported, golden):
    """Theirs keep 5 % of what they knew at every step, those of the plain base 90 %; ours stay frozen once imported."""
    network = imported(case)
    network.frozen_norms, network.dropout.p = False, 0.0
    network.train()
    norms = {published_name(f"{name}.x")[:-2]: part for name, part in network.named_modules()
             if isinstance(part, torch.nn.BatchNorm2d)}  # fmt: skip
    for name, norm in norms.items():
        norm.momentum = 0.1 if case == "mini_orig" and name.startswith("fcn.") else 0.95
    output = network(inputs(golden, 303, 2, 3, 97, 97))
    loose = {"atol": 2e-3, "rtol": 1e-4}
    np.testing.assert_allclose(output.logits[:, ::20], GOLDEN[f"{case}_trainbn_logits"], **loose)
    np.testing.assert_allclose(output.aux_logits[:, ::20], GOLDEN[f"{case}_trainbn_aux_logits"], **loose)
    compared = 0
    for key in GOLDEN:
        if key.startswith(f"{case}_after_trainbn_"):
            name, _, statistic = key.removeprefix(f"{case}_after_trainbn_").rpartition(".")
            np.testing.assert_allclose(getattr(norms[name], statistic), GOLDEN[key], rtol=1e-4, atol=1e-5)
            compared += 1
    assert compared == 8


def test_torchvision_weights_compute_what_the_strided_network_does(golden):
    """Dilation instead of stride leaves every fourth cell of the last stage as it was."""
    torch.manual_seed(0)
    dilated = PlainResNet((1, 2, 2, 2), published=False).eval()
    for module in dilated.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    strided = PlainResNet((1, 2, 2, 2), published=False).eval()
    strided.load_state_dict(dilated.state_dict())
    for stage in (strided.layer3, strided.layer4):
        stage[0].conv2.stride = stage[0].downsample[0].stride = (2, 2)
        for block in stage:
            block.conv2.dilation = block.conv2.padding = (1, 1)
    with torch.no_grad():
        ours, theirs = dilated(inputs(golden, 1, 1, 3, 97, 97))[1], strided(inputs(golden, 1, 1, 3, 97, 97))[1]
    torch.testing.assert_close(ours[..., ::4, ::4], theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture
def weights(golden):
    return dict(golden_weights("resnet-mini", golden))


def read(path):
    return published_network(read_weights(path), path)


def test_old_names_prefixes_wrappers_and_counters_are_understood(weights, tmp_path):
    expected = published_network(weights, tmp_path).state_dict()
    old = {new: old for old, new in OLD_CLASSIFIERS.items()}
    renamed = {next((old[new] + key[len(new):] for new in old if key.startswith(new)), key): value
               for key, value in weights.items()}  # fmt: skip
    assert "final.conv6.weight" in renamed
    counters = weights | {"fcn.layer1.conv1.bn.num_batches_tracked": torch.tensor(7)}
    forms = [renamed, counters, {f"module.{key}": value for key, value in weights.items()},
             {"state_dict": weights, "epoch": 3}, {"model": {"state_dict": weights}}]  # fmt: skip
    for number, form in enumerate(forms):
        torch.save(form, tmp_path / f"{number}.pth")
        found = read(tmp_path / f"{number}.pth").state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    save_file(weights, tmp_path / "safe.safetensors")
    assert read(tmp_path / "safe.safetensors").state_dict().keys() == expected.keys()


def test_torchvision_weights_leave_their_last_layer(tmp_path):
    torch.manual_seed(0)
    backbone = backbones.build_backbone("resnet50-torchvision")
    stored = {**backbone.state_dict(), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(stored, tmp_path / "resnet50.pth")
    network = torchvision_backbone(read_weights(tmp_path / "resnet50.pth"), tmp_path / "resnet50.pth", 2)
    assert network.architecture.backbone == "resnet50-torchvision"
    assert torch.equal(network.backbone.layer4[2].conv3.weight, backbone.layer4[2].conv3.weight)


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["FGSN_TEST_HOSTILE"],)


def written(path, content):
    path.write_bytes(content)
    return path


def test_a_hostile_pickle_never_runs(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("FGSN_TEST_HOSTILE", str(tmp_path / "ran"))
    torch.save({**weights, "more": Hostile()}, tmp_path / "hostile.pth")
    plain = written(tmp_path / "plain.pkl", pickle.dumps({**weights, "more": Hostile()}))
    for path in (tmp_path / "hostile.pth", plain):
        with pytest.raises(FgsnError, match=r"refused: loading it would run .*|broken") as error:
            read_weights(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "ran").exists()
    with pytest.raises(FgsnError, match=r"refused: loading it would run \w+\.mkdir.*plain state dict"):
        read_weights(tmp_path / "hostile.pth")


def test_wrong_files_are_one_line_each(weights, tmp_path):
    torch.save(weights, tmp_path / "theirs.pth")
    whole = (tmp_path / "theirs.pth").read_bytes()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    first = next(iter(weights))
    cases = {
        "truncated.pth": (whole[: len(whole) // 2], "broken|truncated"),
        "empty.pth": (b"", "not a torch checkpoint, or it is truncated"),
        "text.pth": (b"hello, world", "not a torch checkpoint"),
        "legacy.tar": (archive.getvalue(), "not a torch checkpoint"),
        "broken.safetensors": (b"hello, world", "broken or truncated"),
    }
    for name, (content, message) in cases.items():
        with pytest.raises(FgsnError, match=message) as error:
            read(written(tmp_path / name, content))
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    changed = {
        "list.pth": ([1, 2], "contains a list, not the state dict"),
        "other.pth": ({"epoch": 3}, "contains no named weights \\(but 'epoch'\\)"),
        "alien.pth": ({"a.weight": torch.zeros(2)}, "is missing; not a PSPNet of the authors"),
        "lacking.pth": ({k: v for k, v in weights.items() if k != first}, f"closest is resnet-mini, .* lacks {first}"),
        "renamed.pth": ({k.replace("ppm", "pool"): v for k, v in weights.items()}, "lacks ppm.* 17 more, has unexp"),
        "shape.pth": (weights | {first: torch.zeros(3)}, f"has wrong shapes for {first}"),
        "diverged.pth": (weights | {first: torch.full_like(weights[first], torch.nan)}, "not finite; its training"),
    }
    for name, (content, message) in changed.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(FgsnError, match=message) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
    for path in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(FgsnError, match=r"(is a folder|does not exist); give a "):
            read(path)


def write_codebook(path, clusters=5, dim=512, kept=256, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "pca_transform_Amat": rng.normal(size=(dim, kept)),
        "pca_transform_bvec": rng.normal(size=kept),
        "cluster_centroids": rng.normal(size=(clusters, kept)),
    }
    with h5py.File(path, "w") as file:
        for name, values in (arrays | changes).items():
            if values is not None:
                file[name] = values.astype(np.float32)
    return arrays


def test_a_codebook_of_theirs_assigns_as_theirs(tmp_path):
    arrays = write_codebook(tmp_path / "centroids_0.h5")
    features = np.random.default_rng(1).normal(size=(300, 512))
    rows = features @ arrays["pca_transform_Amat"] + arrays["pca_transform_bvec"]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = ((rows[:, None] - arrays["cluster_centroids"][None]) ** 2).sum(axis=2)
    found = read_published_codebook(tmp_path / "centroids_0.h5").assign(features.astype(np.float32))
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_wrong_codebooks_are_one_line_each(tmp_path):
    write_codebook(tmp_path / "lacking.h5", pca_transform_bvec=None)
    write_codebook(tmp_path / "shapes.h5", cluster_centroids=np.zeros((5, 3)))
    (tmp_path / "text.h5").write_text("hello")
    for name, message in (
        ("lacking", "pca_transform_bvec is missing"),
        ("shapes", r"inconsistent shapes \(512, 256\), \(256,\), \(5, 3\)"),
        ("text", "not a readable codebook of the authors"),
        ("absent", "does not exist"),
    ):
        with pytest.raises(FgsnError, match=message) as error:
            read_published_codebook(tmp_path / f"{name}.h5")
        assert "\n" not in str(error.value)


def expanded(path):
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20), "b": torch.zeros(2)}, path)


def shared(path):
    one = torch.zeros(2**16)
    torch.save({f"a{number}": one for number in range(100)}, path)


def without_data(path):
    torch.save({"a": torch.empty(3, device="meta")}, path)


def sparse(path):
    torch.save({"a": torch.eye(3).to_sparse()}, path)


def complex_numbers(path):
    torch.save({"a": torch.zeros(3, dtype=torch.complex64)}, path)


def numbered(path):
    torch.save({1: torch.zeros(2)}, path)


def compressed(path):
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in entries.items():
            new.writestr(name, data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (expanded, "a has shape .*, but the file contains only a part of it"),
        (shared, "its tensors share memory"),
        (without_data, "a is not a plain tensor of real numbers, but torch.float32"),
        (sparse, "a is not a plain tensor of real numbers, but torch.float32, torch.sparse_coo"),
        (complex_numbers, "a is not a plain tensor of real numbers, but torch.complex64"),
        (numbered, "contains no named weights \\(but 1\\)"),
        (compressed, "is refused: its entry .* is compressed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_odd_tensors_are_named_and_small_files_stay_small(tmp_path, make, says):
    with warnings.catch_warnings(action="ignore"):  # of torch, about sparse tensors
        make(tmp_path / "w.pth")
        with pytest.raises(FgsnError, match=rf"w\.pth.*{says}"):
            read_weights(tmp_path / "w.pth")


def test_a_common_prefix_is_taken_off(tmp_path):
    torch.save({"state_dict": {f"model.net.{key}.weight": torch.zeros(2) for key in "ab"}}, tmp_path / "w.pth")
    assert sorted(read_weights(tmp_path / "w.pth")) == ["a.weight", "b.weight"]
