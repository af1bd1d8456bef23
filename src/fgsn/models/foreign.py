"""Weights that other programs trained: read safely, and told by their names and shapes.

A pickle can run code when it is loaded. Here it never does: torch's weights-only reader takes tensors and plain
containers, and a file that wants anything else is refused.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import torch
from safetensors.torch import load_file
from torch import Tensor

from fgsn.clustering.codebook import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import stored_array
from fgsn.models.backbones import backbone_names
from fgsn.models.pspnet import Architecture, PSPNet

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training programs keep the weights beside other things."""
OLD_NAMES = {"final.conv6.": "conv6.", "aux.conv6_1.": "conv6_1."}
"""How the authors called their classifiers at first."""
THEIRS = {
    "backbone.": "fcn.",
    "head.pooling.stages.": "ppm.stages.",
    "head.last.": "final.conv5_4.",
    "aux.conv.": "aux.conv4_aux.",
    "aux_classifier.": "conv6_1.",
    "classifier.": "conv6.",
}
"""Parts of our network, and their names in the authors'."""


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: a state dict by torch.save, bare or wrapped, or a .safetensors file.

    Counters of batches are left out, and a common prefix `module.` is taken off.

    Raises:
        FgsnError: the file is missing, truncated, no state dict, holds numbers that are not finite, or wants more than
            tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FgsnError(f"{path} does not exist or is not a file")
    content = _loaded(path)
    for _ in range(2):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        content = content if inner is None else inner
    weights = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        some = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise FgsnError(f"{path} holds no weights (but {some}); a state dict of a network is wanted")
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FgsnError(f"{path}: {key} holds values that are not finite; the training that made it has diverged")
    return {key: value.float() for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def _loaded(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not _is_torch_file(path):
            raise FgsnError(f"{path} is no checkpoint of torch, or it is truncated")
        with warnings.catch_warnings(action="ignore"):  # of forms that are refused or read all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FgsnError:
        raise
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise FgsnError(f"{path} is a broken or truncated checkpoint") from None
        raise FgsnError(
            f"{path} is refused: to load it, {wanted[1]} would have to run, and a pickle can run anything; "
            "where you trust it, save it again as a plain state dict, torch.save(network.state_dict(), ...)"
        ) from None
    except Exception as error:  # torch's reader of pickles checks nothing: a broken one raises almost anything
        why = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise FgsnError(f"{path} is a broken or truncated checkpoint: {why}") from None
    if not isinstance(content, Mapping):
        raise FgsnError(f"{path} holds a {type(content).__name__}, not the state dict of a network")
    return content


def _is_torch_file(path: Path) -> bool:
    """Whether a file is an archive of torch.save, or a bare pickle as older versions wrote."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def their_name(ours: str) -> str:
    """The authors' name of a weight of ours: `head.pooling.stages.0.bn.bias` → `ppm.stages.0.conv.bn.bias`."""
    part = next(part for part in THEIRS if ours.startswith(part))
    rest = ours.removeprefix(part)
    return THEIRS[part] + (rest.replace(".", ".conv.", 1) if part == "head.pooling.stages." else rest)


def published_network(weights: Mapping[str, Tensor], path: Path) -> PSPNet:
    """The authors' network with these weights, whichever of its two base variants they are for.

    Raises:
        FgsnError: the weights are of no network that fgsn knows; names what is missing, too much or of another shape.
    """
    renamed = {next((new + key[len(old):] for old, new in OLD_NAMES.items() if key.startswith(old)), key): value
               for key, value in weights.items()}  # fmt: skip
    classifier = renamed.get("conv6.weight")
    if classifier is None or classifier.ndim != 4:
        raise FgsnError(f"{path}: conv6.weight is missing; this is no PSPNet of the authors ({_some(weights)})")
    candidates = [Architecture(name, classifier.shape[0]) for name in _plausible("resnet", published=True)]
    return _fitting(renamed, candidates, their_name, path)


def torchvision_backbone(weights: Mapping[str, Tensor], path: Path, classes: int) -> PSPNet:
    """A network with fresh heads on a backbone with torchvision's ResNet weights; its last layer `fc` is left out.

    Raises:
        FgsnError: as `published_network`.
    """
    body = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    candidates = [Architecture(name, classes) for name in _plausible("resnet", published=False)]
    return _fitting(body, candidates, lambda name: name.removeprefix("backbone."), path, only="backbone.")


def _plausible(family: str, published: bool) -> list[str]:
    return [name for name in backbone_names() if name.startswith(family) and published != name.endswith("-torchvision")]


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
    told = [f"{what} {_some(keys)}" for what, keys in
            (("lacks", missing), ("has too much:", extra), ("has of another shape:", wrong)) if keys]  # fmt: skip
    raise FgsnError(f"{path} fits no network that fgsn knows; nearest is {nearest}, for which it {', '.join(told)}")


def _some(keys: Any) -> str:
    keys = list(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def read_published_codebook(path: Path | str) -> Codebook:
    """The authors' `centroids_N.h5`: projection (512, 256) and offset of the whitening, centroids (K, 256).

    Raises:
        FgsnError: the file is missing, broken, or its arrays do not fit together.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            names = ("pca_transform_Amat", "pca_transform_bvec", "cluster_centroids")
            projection, offset, centroids = (torch.from_numpy(stored_array(file, name)).float() for name in names)
    except FileNotFoundError:
        raise FgsnError(f"{path} does not exist") from None
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, FgsnError) as error:
        why = " ".join(str(error).split())
        raise FgsnError(f"{path} is no codebook of the authors (centroids_N.h5): {why}") from None
    parts = (projection, offset, centroids)
    fits = projection.ndim == 2 and offset.shape == projection.shape[1:] and centroids.shape[1:] == projection.shape[1:]
    if not fits or not all(torch.isfinite(part).all() for part in parts):
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise FgsnError(f"{path}: projection, offset and centroids of shapes {shapes} do not fit together")
    # Theirs is x @ A + b, ours (x - mean) @ A: the mean is any solution of mean @ A = -b.
    mean = torch.linalg.lstsq(projection.T.double(), -offset.double()[:, None]).solution[:, 0]
    return Codebook(Whitening(mean.float(), projection), centroids)
