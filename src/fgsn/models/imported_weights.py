"""Weights trained by other programs: read safely, and recognised by their names and shapes.

Loading a pickle can execute code. That never happens here: torch's weights-only reader accepts tensors and plain
containers, and a file that requires anything else is refused.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fgsn.clustering.codebook import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.errors import FgsnError, reason
from fgsn.formats.hdf5 import opened, stored_array
from fgsn.models.backbones import backbone_names
from fgsn.models.model_file import is_torch_file
from fgsn.models.pspnet import Architecture, PSPNet

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training programs store the weights next to other state."""
SHARED = 4
"""Largest ratio of the bytes of all tensors to those of the file; weights may be tied."""
OLD_CLASSIFIERS = {"final.conv6.": "conv6.", "aux.conv6_1.": "conv6_1."}
"""Current and earlier names of the authors' classifiers."""
PUBLISHED_PARTS = {
    "backbone.": "fcn.",
    "head.pooling.stages.": "ppm.stages.",
    "head.last.": "final.conv5_4.",
    "aux.conv.": "aux.conv4_aux.",
    "aux_classifier.": "conv6_1.",
    "classifier.": "conv6.",
}
"""Parts of our network and their names in the authors' checkpoints."""


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: a state dict written by torch.save, bare or wrapped, or a .safetensors file.

    Batch counters (`num_batches_tracked`) are dropped, and a common prefix such as `module.` is removed.

    Raises:
        FgsnError: the file is missing, truncated or not a state dict, contains tensors of unusual kinds or values that
            are not finite, or requires more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FgsnError(f"{path} {what}; give a .pth or .safetensors file, or timm/NAME for a network of timm")
    content = _loaded(path)
    for _ in range(2):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        content = content if inner is None else inner
    weights = {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}
    if not weights:
        some = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise FgsnError(f"{path} contains no named weights (but {some}); expected the state dict of a network")
    _check_stored(weights, path)
    while len(weights) > 1 and len({key.partition(".")[0] for key in weights}) == 1:
        weights = {key.partition(".")[2]: value for key, value in weights.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FgsnError(f"{path}: {key} contains values that are not finite; its training diverged")
    return {key: value.float() for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def _check_stored(weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not plain arrays, or that take more memory than the file has bytes.

    A stride of 0 makes an array of any size from one number.
    """
    for key, value in weights.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            raise FgsnError(f"{path}: {key} is not a plain tensor of real numbers, but {value.dtype}, {value.layout}")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise FgsnError(f"{path}: {key} has shape {tuple(value.shape)}, but the file contains only a part of it")
    if sum(value.numel() * value.element_size() for value in weights.values()) > SHARED * path.stat().st_size:
        raise FgsnError(f"{path}: its tensors share memory and would take far more than the file")


def _loaded(path: Path) -> Mapping[Any, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not is_torch_file(path):
            raise FgsnError(f"{path} is not a torch checkpoint, or it is truncated")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            if packed:  # torch.save never compresses, and a small entry may unpack to any size
                raise FgsnError(f"{path} is refused: its entry {packed[0]} is compressed; save it with torch.save")
        with warnings.catch_warnings(action="ignore"):  # about formats that are refused or read anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FgsnError:
        raise
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise FgsnError(f"{path} is a broken or truncated checkpoint") from None
        raise FgsnError(
            f"{path} is refused: loading it would run {wanted[1]}, and a pickle can run any code; "
            "if you trust it, save it again as a plain state dict, torch.save(network.state_dict(), ...)"
        ) from None
    except Exception as error:  # torch's unpickler raises almost any exception for a broken file
        raise FgsnError(f"{path} is a broken or truncated checkpoint: {reason(error, 160)}") from None
    if not isinstance(content, Mapping):
        raise FgsnError(f"{path} contains a {type(content).__name__}, not the state dict of a network")
    return content


def published_name(ours: str) -> str:
    """The authors' name for one of our weights: `head.pooling.stages.0.bn.bias` → `ppm.stages.0.conv.bn.bias`."""
    part = next(part for part in PUBLISHED_PARTS if ours.startswith(part))
    rest = ours.removeprefix(part)
    return PUBLISHED_PARTS[part] + (rest.replace(".", ".conv.", 1) if part == "head.pooling.stages." else rest)


def published_network(weights: Mapping[str, Tensor], path: Path) -> PSPNet:
    """The authors' network with these weights; their names and shapes decide which of the two base variants it is.

    Raises FgsnError if they fit no network known to fgsn: which are missing, unexpected, or of wrong shape.
    """
    renamed = {next((new + key[len(old):] for old, new in OLD_CLASSIFIERS.items() if key.startswith(old)), key): value
               for key, value in weights.items()}  # fmt: skip
    classifier = renamed.get("conv6.weight")
    if classifier is None or classifier.ndim != 4:
        raise FgsnError(f"{path}: conv6.weight is missing; not a PSPNet of the authors (found {_some(weights)})")
    candidates = [Architecture(name, classifier.shape[0]) for name in _resnets(published=True)]
    return _fitting(renamed, candidates, published_name, path)


def torchvision_backbone(weights: Mapping[str, Tensor], path: Path, classes: int) -> PSPNet:
    """A network with untrained heads on torchvision's ResNet weights; torchvision's last layer `fc` is dropped.

    Raises FgsnError as `published_network`.
    """
    body = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    candidates = [Architecture(name, classes) for name in _resnets(published=False)]
    return _fitting(body, candidates, lambda name: name.removeprefix("backbone."), path, only="backbone.")


def _resnets(published: bool) -> list[str]:
    names = (name for name in backbone_names() if name.startswith("resnet"))
    return [name for name in names if published != name.endswith("-torchvision")]


def _fitting(
    weights: Mapping[str, Tensor], candidates: list[Architecture], name_of: Any, path: Path, only: str = ""
) -> PSPNet:
    """The candidate whose weights have these names and shapes, filled with them; parts outside `only` stay random."""
    differences = []
    for architecture in candidates:
        with torch.device("meta"):
            wanted = {
                name_of(name): value.shape
                for name, value in PSPNet(architecture).state_dict().items()
                if name.startswith(only) and not name.endswith("num_batches_tracked")
            }
        missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
        wrong = sorted(key for key in wanted.keys() & weights.keys() if wanted[key] != weights[key].shape)
        if not (missing or extra or wrong):
            network = PSPNet(architecture)
            state = network.state_dict()
            for name in state:
                if name.startswith(only) and not name.endswith("num_batches_tracked"):
                    state[name].copy_(weights[name_of(name)])
            return network
        differences.append((len(missing) + len(extra) + len(wrong), architecture.backbone, missing, extra, wrong))
    _, nearest, missing, extra, wrong = min(differences)
    problems = [f"{what} {_some(keys)}" for what, keys in
            (("lacks", missing), ("has unexpected", extra), ("has wrong shapes for", wrong)) if keys]  # fmt: skip
    raise FgsnError(f"{path} fits no network known to fgsn; the closest is {nearest}, but it {', '.join(problems)}")


def _some(keys: Any) -> str:
    keys = list(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def read_published_codebook(path: Path | str) -> Codebook:
    """The authors' `centroids_N.h5`: projection (512, 256) and offset of the whitening, centroids (K, 256).

    Raises FgsnError if the file is missing, broken, or its arrays do not fit together.
    """
    path = Path(path)
    with opened(path, "codebook of the authors (centroids_N.h5)") as file:
        names = ("pca_transform_Amat", "pca_transform_bvec", "cluster_centroids")
        projection, offset, centroids = (torch.from_numpy(stored_array(file, name)).float() for name in names)
    parts = (projection, offset, centroids)
    fits = projection.ndim == 2 and offset.shape == projection.shape[1:] and centroids.shape[1:] == projection.shape[1:]
    if not fits or not all(torch.isfinite(part).all() for part in parts):
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise FgsnError(f"{path}: projection, offset and centroids have inconsistent shapes {shapes}")
    # Theirs is x @ A + b, ours (x - mean) @ A: the mean is any solution of mean @ A = -b.
    mean = torch.linalg.lstsq(projection.T.double(), -offset.double()[:, None]).solution[:, 0]
    return Codebook(Whitening(mean.float(), projection), centroids)
