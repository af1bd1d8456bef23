"""ONNX and torch.export files, run without fgsn."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import fgsn
from fgsn.config import ExportSettings
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.export import network_files
from fgsn.export.export import export

SIZE = (75, 52)
STRANGER = """
import json, sys, numpy as np, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for path in sys.argv[2:]:
    image = np.asarray(Image.open(path).convert("RGB"))
    np.save(path + ".npy", session.run(["labels"], {"image": image})[0])
print(json.dumps(session.get_modelmeta().custom_metadata_map))
assert not {"torch", "fgsn"} & set(sys.modules)
"""


def onnx_there():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def run_by_a_stranger(file, *images):
    done = subprocess.run([sys.executable, "-c", STRANGER, file, *images], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), [np.load(f"{image}.npy") for image in images]


@pytest.fixture
def model(tmp_path, make_model):
    make_model(classes=30, window=33).save(tmp_path / "model.safetensors")
    return fgsn.load(tmp_path / "model.safetensors", "cpu")


def test_onnx_for_one_size(model, tmp_path, make_image):
    onnx_there()
    images = [make_image(tmp_path / "images" / f"{n}.png", *SIZE, seed=n) for n in range(2)]
    make_image(tmp_path / "images" / "other.png", 40, 40)
    found = export(
        ExportSettings(model=tmp_path, out=tmp_path / "out", format=("onnx",), size=SIZE, images=tmp_path / "images")
    )["onnx"]
    assert found["compared_images"] == 2
    assert found["equal_pixels_least"] > 0.999
    facts, labels = run_by_a_stranger(found["file"], *images)
    for image, got in zip(images, labels, strict=True):
        assert got.dtype == np.int32
        assert (got == model.segment(image)).mean() > 0.999
    assert facts["fgsn:image"].endswith("width x height: 75 x 52")
    assert json.loads(facts["fgsn:classes"]) == list(model.classes)
    assert len(json.loads(facts["fgsn:palette"])) == 30
    with pytest.raises(FgsnError, match="none of the 2 images has its input size"):
        network_files._compared(found["file"], model, ["labels"], (40, 41), images)


@pytest.mark.slow
def test_onnx_for_any_size(model, tmp_path, make_image):
    onnx_there()
    images = [
        make_image(tmp_path / f"{n}.png", *size, seed=n) for n, size in enumerate([(41, 41), (150, 60), (64, 97)])
    ]
    # Apart from here, where checks of types would stop what stands for any number.
    command = [sys.executable, "-c", "from fgsn.cli import main; main()", "export", tmp_path, "--out", tmp_path / "out"]
    subprocess.run(command, check=True, capture_output=True)
    _, labels = run_by_a_stranger(tmp_path / "out" / "model.onnx", *images)
    for image, got in zip(images, labels, strict=True):
        assert (got == model.segment(image)).mean() > 0.999


def test_torch_program(model, tmp_path, make_image):
    settings = ExportSettings(
        model=tmp_path, out=tmp_path / "out", format=("torch",), size=(48, 40), outputs=("scores", "labels")
    )
    results = export(settings)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    program = torch.export.load(results["torch"]["file"]).module()
    image = fgsn.data.images.read_image(make_image(tmp_path / "a.png", 48, 40))
    scores, labels = program(torch.from_numpy(image))
    assert (labels.numpy() == model.segment(image)).mean() > 0.999
    assert scores.numpy() == pytest.approx(model.scores(image).numpy(), rel=1e-4, abs=1e-3)
    assert not list((tmp_path / "out").glob("*part*"))


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fgsn\[onnx\]'"):
        export(ExportSettings(model=tmp_path, out=tmp_path / "out"))


def test_what_torch_cannot_export_is_told(model, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no\nsuch operator")

    monkeypatch.setattr(network_files.torch.export, "export", refuse)
    with pytest.raises(FgsnError, match="torch cannot export this network: no such operator; specify the --size"):
        export(ExportSettings(model=tmp_path, out=tmp_path / "out", format=("torch",)))
