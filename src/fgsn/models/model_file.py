"""The model file: one `.safetensors` with the weights and, as JSON in its header, everything else.

Loading it parses numbers and JSON; nothing in it is ever unpickled or executed.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.files import atomic_write

VERSION = 1


def write_model_file(path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header atomically; equal content gives equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "fgsn", "version": str(VERSION), "fgsn": json.dumps(header)}
    # Not the library's own writer: if the process is killed, its temporary files keep names that nothing cleans up.
    data = _in_order(save(plain, metadata))
    with atomic_write(path) as aside, aside.open("wb") as file:
        file.writelines(data)


def read_model_file(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `write_model_file` wrote.

    Raises FgsnError if the file is missing, not a safetensors file, not written by fgsn, or by a newer fgsn.
    """
    path = Path(path)
    if not path.is_file():
        raise FgsnError(f"{path} does not exist or is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != "fgsn":
                raise FgsnError(f"{path} is a safetensors file, but not an fgsn model")
            if int(metadata["version"]) > VERSION:
                raise FgsnError(f"{path} was written by a newer fgsn; update fgsn to read it")
            # Copies: the library's tensors are views of the memory-mapped file, with its alignment.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            header = json.loads(metadata["fgsn"])
            if not isinstance(header, dict):
                raise ValueError
            return tensors, header
    except SafetensorError:
        if is_torch_file(path):
            reason = "it is a pickle, which can run code when loaded; fgsn never loads pickles"
        else:
            reason = "it is not a .safetensors model, or it is truncated"
        raise FgsnError(f"cannot load {path}: {reason}") from None
    except (KeyError, ValueError, RecursionError):
        raise FgsnError(f"{path} is damaged: its header cannot be read") from None
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror or error}") from None


def _in_order(data: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file as header and data, the header's metadata sorted; the library writes it in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # data starts at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text, memoryview(data)[end:]


def is_torch_file(path: Path) -> bool:
    """Whether a file is a torch.save archive, or a bare pickle as older versions of torch wrote."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)
