"""The model as a user holds it, and what a file must hold to become one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import fgsn
from fgsn import Codebook
from fgsn.errors import FgsnError
from fgsn.formats.poses import read_results
from fgsn.geometry.colmap import read_model
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import fingerprint, prepare_device
from fgsn.inference.segmenter import Segmenter
from fgsn.models.model_file import read_model_file, write_model_file


def picture(height=70, width=101, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def cluster_model(make_model):
    features = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    return replace(
        make_model(classes=6, names=False),
        codebook=Codebook.fit(features, 6, pca_dim=8),
        stationary=(True, False, True, True, False, False),
        facts={"data": ["a", "b"], "validation": {"kappa": 0.5}},
        short_side=60,
    )


def test_a_saved_model_comes_back_bit_for_bit(cluster_model, tmp_path):
    cluster_model.save(tmp_path / "model.safetensors")
    back = fgsn.load(tmp_path / "model.safetensors")
    before, after = cluster_model.network.state_dict(), back.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, tensor in cluster_model.codebook.tensors().items():
        assert torch.equal(back.codebook.tensors()[name], tensor)
    for name in ("normalisation", "short_side", "window", "classes", "stationary", "facts"):
        assert getattr(back, name) == getattr(cluster_model, name)
    assert not back.network.training
    assert not any(parameter.requires_grad for parameter in back.network.parameters())
    np.testing.assert_array_equal(back.segment(picture()), cluster_model.segment(picture()))
    back.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_base_network_too(make_model, tmp_path):
    make_model(classes=5).save(tmp_path / "model.safetensors")
    back = fgsn.load(tmp_path / "model.safetensors")
    assert back.classes == tuple(f"class {n}" for n in range(5))
    assert back.codebook is None
    assert back.stationary is None


def test_a_run_folder_stands_for_its_model(make_model, tmp_path):
    with pytest.raises(FgsnError, match=f"{tmp_path} contains no model.safetensors: it is not a run folder, or"):
        fgsn.load(tmp_path)
    make_model().save(tmp_path / "model.safetensors")
    assert fgsn.load(tmp_path).clusters == 5


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FgsnError, match=r"none\.safetensors does not exist"):
        fgsn.load(tmp_path / "none.safetensors")


def test_loading_does_not_touch_the_random_numbers(make_model, tmp_path):
    make_model().save(tmp_path / "model.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    fgsn.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.rand(3), expected)


NORMALISATION = {"order": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1]}
ARCHITECTURE = {"backbone": "tiny", "classes": 6, "feature_dim": 16, "aux_dim": 8}
HOSTILE_HEADERS = {
    "no architecture": {"architecture": None},
    "an architecture that is a list": {"architecture": [1, 2]},
    "an unknown backbone": {"architecture": {**ARCHITECTURE, "backbone": "vgg"}},
    "another backbone": {"architecture": {**ARCHITECTURE, "backbone": "lite"}},
    "another number of classes": {"architecture": {**ARCHITECTURE, "classes": 7}},
    "a network of 9 GB": {"architecture": {"backbone": "resnet101", "classes": 65536, "feature_dim": 65536}},
    "a network of terabytes": {"architecture": {**ARCHITECTURE, "feature_dim": 10**12}},
    "no normalisation": {"normalisation": None},
    "a normalisation by zero": {"normalisation": {**NORMALISATION, "std": [0, 0, 0]}},
    "a text as window": {"window": "65"},
    "an even window": {"window": 64},
    "a negative window": {"window": -7},
    "an infinite window": {"window": float("inf")},
    "a negative short side": {"short_side": -1},
    "a fractional short side": {"short_side": 0.5},
    "too few classes": {"classes": ["a", "b"]},
    "classes that are numbers": {"classes": [1, 2, 3, 4, 5, 6]},
    "classes that are one number": {"classes": 6},
    "stationary of another length": {"stationary": [True]},
    "stationary that is text": {"stationary": "yesyes"},
    "facts that are a list": {"facts": []},
}


def refused(path):
    with pytest.raises(FgsnError) as error:
        fgsn.load(path)
    assert type(error.value) is FgsnError
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("what", HOSTILE_HEADERS)
def test_a_header_that_does_not_fit_is_one_line(cluster_model, tmp_path, what):
    path = tmp_path / "model.safetensors"
    cluster_model.save(path)
    tensors, header = read_model_file(path)
    write_model_file(path, tensors, header | HOSTILE_HEADERS[what])
    refused(path)


@pytest.mark.parametrize(
    "key", ["architecture", "normalisation", "short_side", "window", "classes", "stationary", "facts"]
)
def test_a_missing_key_is_one_line(cluster_model, tmp_path, key):
    path = tmp_path / "model.safetensors"
    cluster_model.save(path)
    tensors, header = read_model_file(path)
    write_model_file(path, tensors, {name: value for name, value in header.items() if name != key})
    assert key in refused(path)


@pytest.mark.parametrize("header", [[], "text", None, 3])
def test_a_header_that_is_no_mapping_is_one_line(cluster_model, tmp_path, header):
    path = tmp_path / "model.safetensors"
    cluster_model.save(path)
    metadata = {"format": "fgsn", "version": "1", "fgsn": json.dumps(header)}
    save_file(read_model_file(path)[0], path, metadata=metadata)
    refused(path)


HOSTILE_TENSORS = {
    "a weight missing": {"network.classifier.weight": None},
    "a weight too many": {"network.extra": torch.zeros(3)},
    "a weight of another shape": {"network.classifier.bias": torch.zeros(7)},
    "a weight of whole numbers": {"network.classifier.bias": torch.zeros(6, dtype=torch.int64)},
    "half a codebook": {"codebook.mean": None},
    "a codebook of other features": {"codebook.mean": torch.zeros(17)},
    "a codebook of one dimension": {"codebook.centroids": torch.zeros(6)},
    "a codebook that is a number": {"codebook.centroids": torch.tensor(1.0)},
    "a flat projection": {"codebook.projection": torch.zeros(16)},
    "a codebook with a centroid too few": {"codebook.centroids": torch.zeros(5, 8)},
    "a codebook of whole numbers": {"codebook.centroids": torch.zeros(6, 8, dtype=torch.int64)},
    "an objective that is a number": {"codebook.objective": torch.tensor(1.0)},
}


@pytest.mark.parametrize("what", HOSTILE_TENSORS)
def test_tensors_that_do_not_fit_are_one_line(cluster_model, tmp_path, what):
    path = tmp_path / "model.safetensors"
    cluster_model.save(path)
    tensors, header = read_model_file(path)
    changed = {name: value for name, value in (tensors | HOSTILE_TENSORS[what]).items() if value is not None}
    write_model_file(path, changed, header)
    refused(path)


def test_segmenting_by_path_and_by_pixels(cluster_model, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "street.png")
    labels = cluster_model.segment(tmp_path / "street.png")
    assert labels.shape == (70, 101)
    assert labels.dtype.kind == "i"
    assert 0 <= labels.min() <= labels.max() < 6
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(cluster_model.segment(str(tmp_path / "street.png")), labels)
    np.testing.assert_array_equal(cluster_model.segment(picture()), labels)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (64, 64), (65, 65), (129, 90)])
@pytest.mark.parametrize("short_side", [0, 48])
def test_images_of_any_size(make_model, height, width, short_side):
    model = replace(make_model(), short_side=short_side)
    assert model.segment(picture(height, width)).shape == (height, width)
    seen = model.prepared(picture(height, width)).shape[1:]
    assert min(seen) == (short_side or min(height, width))
    assert model.features(picture(height, width)).shape == (16, *(-(-side // 8) for side in seen))


def test_scores_and_features_are_those_of_the_network(make_model):
    model = make_model(window=105)
    pixels = picture()
    output = model.network(model.normalisation.apply(torch.from_numpy(pixels).permute(2, 0, 1).float())[None])
    torch.testing.assert_close(model.scores(pixels), output.logits[0])
    np.testing.assert_allclose(model.features(pixels), output.features[0], rtol=1e-5, atol=1e-5)
    assert model.segment(pixels)[8, 16] == output.logits[0, :, 1, 2].argmax()


def test_the_number_of_windows_computed_at_once_changes_nothing(make_model):
    scores, seen = [], []
    for batch in (1, 16):
        model = make_model()
        model.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
        scores.append(Segmenter(model, precision=None, batch=batch).scores(picture(200, 150)))
    assert seen == [1] * 12 + [12]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-3)


def test_an_image_larger_than_the_window_is_seen_in_windows(make_model):
    model = make_model(window=65)
    seen = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    model.segment(picture(200, 150))
    assert set(seen) == {(65, 65)}


def test_a_broken_image_is_one_line(cluster_model, tmp_path):
    (tmp_path / "street.png").write_bytes(b"no image")
    with pytest.raises(FgsnError, match=r"street\.png is not an image"):
        cluster_model.segment(tmp_path / "street.png")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    assert prepare_device("auto") == torch.device("cpu")
    with pytest.raises(FgsnError, match=r"--device cuda: no GPU .* was found; take --device cpu"):
        prepare_device("cuda")
    with pytest.raises(FgsnError, match="there is no device 'tpu'; take auto, cpu or cuda"):
        prepare_device("tpu")
    with pytest.raises(FgsnError, match=r"--device cuda:7: no GPU"):
        prepare_device("cuda:7")


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "it is empty"), ("a" * 5000, "it is too long"), ("none", "none"), (None, "NoneType")],
)
def test_what_is_no_path_of_a_model_is_told(path, says):
    for use in (fgsn.load, fingerprint, fgsn.read_correspondences, read_model, read_label_map, read_results):
        with pytest.raises(FgsnError, match=says):
            use(path)


@pytest.mark.parametrize(
    "array", [np.zeros((10, 10)), np.zeros((10, 10, 4), np.uint8), np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9, 3))]
)
def test_arrays_that_are_no_images_are_refused(make_model, array):
    model = make_model()
    for use in (model.segment, model.features, model.scores, model.feature_map, model.prepared):
        with pytest.raises(FgsnError, match=r"an image should be \(height, width, 3\) uint8"):
            use(array)


def test_what_is_neither_path_nor_array_is_refused(make_model):
    for image in (None, [[[0, 0, 0]]], torch.zeros(8, 8, 3, dtype=torch.uint8), b"a.png"):
        with pytest.raises(FgsnError, match=f"a path or a NumPy array, not {type(image).__name__}"):
            make_model().segment(image)


def test_features_of_another_width_have_no_cluster(cluster_model):
    for features in (np.zeros((3, 17), np.float32), np.full((3, 16), np.nan, np.float32)):
        with pytest.raises(FgsnError, match=r"features should be \(N, 16\) finite numbers"):
            cluster_model.codebook.assign(features)
    assert cluster_model.codebook.assign(np.zeros((0, 16), np.float32)).tolist() == []
    features = np.arange(48, dtype=np.float32).reshape(3, 16)
    turned = cluster_model.codebook.assign(features[::-1])
    assert turned.tolist() == cluster_model.codebook.assign(features)[::-1].tolist()


def test_a_model_is_shown_in_a_line(make_model, cluster_model):
    assert repr(make_model()) == "Model(5 classes, backbone tiny, window 65, short side 0, cpu)"
    assert repr(cluster_model).startswith("Model(6 fine-grained labels, backbone tiny")
    assert repr(cluster_model.codebook) == "Codebook(6 centroids of 8 dimensions)"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("network.classifier.weight", np.nan, "classifier.weight contains values that are not finite"),
        ("network.classifier.bias", np.inf, "classifier.bias contains values that are not finite"),
        ("running_var", -1.0, "running_var contains negative variances"),
        ("codebook.centroids", np.nan, "the codebook contains values that are not finite"),
        ("codebook.mean", -np.inf, "the codebook contains values that are not finite"),
    ],
)
def test_numbers_that_are_none_are_refused(cluster_model, tmp_path, name, value, says):
    cluster_model.save(tmp_path / "m.safetensors")
    tensors, header = read_model_file(tmp_path / "m.safetensors")
    key = next(key for key in tensors if key.endswith(name))
    tensors[key].flatten()[0] = value
    write_model_file(tmp_path / "m.safetensors", tensors, header)
    with pytest.raises(FgsnError, match=rf"m\.safetensors is inconsistent \(.*{says}"):
        fgsn.load(tmp_path / "m.safetensors")
