"""fgsn info."""

import json
from dataclasses import replace

import torch

from fgsn import Codebook
from fgsn.config import InfoSettings
from fgsn.inference.info import info


def test_a_base_network(make_model, tmp_path):
    model = make_model(classes=3)
    model.save(tmp_path / "model.safetensors")
    found = info(InfoSettings(model=tmp_path))
    assert found["kind"] == "base network"
    assert found["labels"] == 3
    assert found["classes"] == "class 0, class 1, class 2"
    assert found["parameters"] == sum(p.numel() for p in model.network.parameters())
    assert found["window"] == "65 px"
    assert found["short_side"] == "as the image"
    assert "codebook" not in found
    json.dumps(found)


def test_a_cluster_model(make_model, tmp_path):
    codebook = Codebook.fit(torch.randn(50, 16), 4, pca_dim=8)
    model = replace(
        make_model(classes=4, names=False),
        codebook=codebook,
        stationary=(True, False, True, True),
        short_side=480,
        facts={"iterations": 10, "validation": {"kappa": 0.25}},
    )
    model.save(tmp_path / "model.safetensors")
    found = info(InfoSettings(model=tmp_path / "model.safetensors"))
    assert found["kind"] == "fine-grained labels"
    assert found["codebook"] == "4 centroids of 8 dimensions"
    assert found["stationary"] == "3 of 4 clusters"
    assert found["short_side"] == "480 px"
    assert found["training"]["iterations"] == "10"
    assert "0.25" in found["training"]["validation"]
