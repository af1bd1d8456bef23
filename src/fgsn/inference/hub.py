"""Download models from the Hugging Face Hub: hf://owner/name or hf://owner/name@revision, one cached file."""

import re
from pathlib import Path

from fgsn.errors import FgsnError, MissingExtraError

MODEL_FILE = "model.safetensors"
_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?/?")  # pathlib.Path keeps only one of the two slashes


def on_hub(path: Path | str) -> bool:
    """Whether a path is an address on the Hub."""
    return str(path).startswith("hf:/")


def downloaded(address: Path | str) -> Path:
    """The model file of a repository, downloaded unless it is in the Hub's local cache.

    Raises FgsnError if the address is malformed or the file cannot be downloaded, MissingExtraError without
    huggingface_hub.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise FgsnError(
            f"{address} is not the address of a model; expected hf://owner/name or hf://owner/name@revision"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    name, revision = found.groups()
    try:
        return Path(hf_hub_download(name, MODEL_FILE, revision=revision))
    except Exception as error:  # from several libraries: connection, cache or Hub
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise FgsnError(f"{MODEL_FILE} of hf://{name} cannot be downloaded: {why}") from None
