"""The model file: what is written is read, and nothing else is."""

import json
import pickle
import resource
import struct
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from fgsn.errors import FgsnError
from fgsn.models.model_file import read_model_file, write_model_file

TENSORS = {
    "float32": torch.tensor([[1.5, -0.0], [float("nan"), float("inf")]]),
    "int64": torch.tensor([2**62, -1]),
    "bfloat16": torch.randn(3, generator=torch.Generator().manual_seed(0)).bfloat16(),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "strided": torch.arange(6.0).reshape(2, 3).T,
    "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
}
HEADER = {"text": 'Straße\n"quoted"', "number": 0.1, "list": [1, None, True], "nested": {"a": {}}}


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).tolist() if tensor.numel() else []


def test_round_trip_bit_for_bit(tmp_path):
    path = tmp_path / "folder" / "model.safetensors"
    write_model_file(path, TENSORS, HEADER)
    tensors, header = read_model_file(path)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert bits(tensors[name]) == bits(tensor)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_what_was_read_does_not_depend_on_the_file_any_more(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model_file(path, {"odd": torch.zeros(3, dtype=torch.uint8), "weight": torch.ones(1000)}, {})
    tensors, _ = read_model_file(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert tensors["weight"].sum() == 1000


def test_equal_content_gives_equal_bytes(tmp_path):
    written = set()
    for n in range(8):
        write_model_file(tmp_path / str(n), TENSORS, HEADER)
        written.add((tmp_path / str(n)).read_bytes())
    assert len(written) == 1


def refused(path, because):
    with pytest.raises(FgsnError, match=because) as error:
        read_model_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_is_refused_and_not_executed(tmp_path, protocol):
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap(), protocol=protocol))
    refused(path, "it is a pickle, which can run code when loaded")


def test_what_torch_saves_is_refused_as_a_pickle(tmp_path):
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save({"weight": torch.zeros(3)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        refused(tmp_path / name, "it is a pickle")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "model.safetensors"
    write_model_file(path, {"weight": torch.randn(1000)}, HEADER)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "it is not a .safetensors model, or it is truncated")


@pytest.mark.parametrize("size", [2**63, 10**12, 5])
def test_a_header_that_claims_another_size_is_refused(tmp_path, size):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b"{}" + bytes(100))
    refused(path, "not a .safetensors model")


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path):
    header = {"weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    data = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(64))
    refused(path, "not a .safetensors model")


@pytest.mark.parametrize(
    ("metadata", "because"),
    [
        (None, "not an fgsn model"),
        ({"format": "pt"}, "not an fgsn model"),
        ({"format": "fgsn", "version": "2", "fgsn": "{}"}, "written by a newer fgsn; update"),
        ({"format": "fgsn", "version": "one", "fgsn": "{}"}, "damaged: its header"),
        ({"format": "fgsn", "fgsn": "{}"}, "damaged: its header"),
        ({"format": "fgsn", "version": "1"}, "damaged: its header"),
        ({"format": "fgsn", "version": "1", "fgsn": '{"a": '}, "damaged: its header"),
        ({"format": "fgsn", "version": "1", "fgsn": "[1]"}, "damaged: its header"),
        ({"format": "fgsn", "version": "1", "fgsn": "[" * 100_000}, "damaged: its header"),
    ],
)
def test_foreign_newer_and_damaged_headers_are_told_apart(tmp_path, metadata, because):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    refused(path, because)


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "none", "does not exist or is not a file")
    refused(tmp_path, "does not exist or is not a file")


@contextmanager
def files_of_at_most(size):
    """As on a full disk, writing beyond `size` bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model_file(path, {"weight": torch.ones(3)}, {"n": 1})
    with files_of_at_most(100_000), pytest.raises(FgsnError, match=f"cannot write {path}: ") as error:
        write_model_file(path, {"weight": torch.zeros(1_000_000)}, {"n": 2})
    assert "\n" not in str(error.value)
    assert read_model_file(path)[1] == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
