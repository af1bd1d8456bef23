"""A prepared data set and a start model, small enough that a training takes a second."""

from dataclasses import replace

import pytest

from fgsn.config import PrepareSettings
from fgsn.data.prepare import prepare


@pytest.fixture(scope="session")
def data(tmp_path_factory, make_dataset):
    root = make_dataset(tmp_path_factory.mktemp("data") / "set", places=4)
    prepare(PrepareSettings(dataset=root, validation_share=0.25))
    return root


@pytest.fixture(scope="session")
def start(tmp_path_factory, make_model):
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    replace(make_model(), facts={"kind": "base network"}).save(path)
    return path
