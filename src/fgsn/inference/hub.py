"""Models from the Hugging Face Hub, hf://owner/name or hf://owner/name@revision: one file is fetched and kept."""

import re
from pathlib import Path

from fgsn.errors import FgsnError, MissingExtraError

MODEL_FILE = "model.safetensors"
_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?/?")  # a path holds one of the two slashes only


def on_hub(path: Path | str) -> bool:
    """Whether a model is named by its place on the Hub."""
    return str(path).startswith("hf:/")


def downloaded(address: Path | str) -> Path:
    """The model file of a repository, fetched unless the Hub's cache on this machine has it.

    Raises:
        FgsnError: the address has another form, or the file cannot be had.
        MissingExtraError: huggingface_hub is not installed.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise FgsnError(f"{address} is no address of a model; expected hf://owner/name or hf://owner/name@revision")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    name, revision = found.groups()
    try:
        return Path(hf_hub_download(name, MODEL_FILE, revision=revision))
    except Exception as error:  # of the connection, the cache or the Hub, from several libraries
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise FgsnError(f"{MODEL_FILE} of hf://{name} cannot be fetched: {why}") from None
