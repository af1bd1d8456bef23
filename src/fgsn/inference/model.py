"""A model: network, input normalisation, codebook and training facts; it segments images and is saved as one file."""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from fgsn.clustering.codebook import Codebook
from fgsn.config.base import LARGEST_SIDE
from fgsn.data.images import read_image
from fgsn.data.resize import resized
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.files import as_path, write_text
from fgsn.inference.colours import class_palette, palette, published_palette
from fgsn.inference.hub import MODEL_FILE, downloaded, on_hub
from fgsn.inference.model_card import model_card
from fgsn.inference.packaged import is_packaged, packaged
from fgsn.inference.segmenter import Segmenter
from fgsn.inference.similar_colours import similar_palette
from fgsn.models.layers import STRIDE
from fgsn.models.model_file import read_model_file, write_model_file
from fgsn.models.normalisation import Normalisation
from fgsn.models.pspnet import Architecture, PSPNet

Tiling = Literal["aligned", "published"]


@dataclass(frozen=True)
class Model:
    """A network and everything needed to use it; saved as one file."""

    network: PSPNet
    normalisation: Normalisation
    short_side: int
    """Images are resized so that the shorter side has this many pixels; 0 keeps their size."""
    window: int
    """Side of the sliding windows in pixels, equal to the side of the training crops."""
    tiling: Tiling = "aligned"
    """How windows are placed and blended: aligned with feature cells, or exactly as in the authors' code."""
    codebook: Codebook | None = None
    """Whitening and centroids, for cluster models."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, for base networks."""
    stationary: tuple[bool, ...] | None = None
    """Which clusters are stationary; None before `fgsn stationary`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How the model was trained; JSON values."""

    def __repr__(self) -> str:
        """One line, without the weights."""
        kind = "classes" if self.classes else "fine-grained labels"
        sides = f"window {self.window}, short side {self.short_side}"
        return f"Model({self.clusters} {kind}, backbone {self.network.architecture.backbone}, {sides}, {self.device})"

    @property
    def clusters(self) -> int:
        """Number of labels."""
        return self.network.architecture.classes

    @cached_property
    def palette(self) -> UInt8[np.ndarray, "classes 3"]:
        """Colours of the labels: the customary ones for named classes, the authors' for models with the published
        tiling, otherwise similar colours for clusters with similar features."""
        if self.classes:
            return class_palette(self.classes)
        if self.tiling == "published":
            return published_palette(self.clusters)
        if self.codebook is None:
            return palette(self.clusters)
        return similar_palette(self.codebook.centroids.cpu().numpy())

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.network.classifier.weight.device

    def segment(self, image: Path | str | UInt8[np.ndarray, "height width 3"]) -> Integer[np.ndarray, "height width"]:
        """The label of every pixel of an image: the class with the largest score.

        Computed in float32, as by `fgsn segment --precision float32`. Its default is bfloat16 where the processor
        supports it, and then some pixels between two labels get the other one.

        Raises:
            FgsnError: the image cannot be read, or the array is not (height, width, 3) uint8.
        """
        return Segmenter(self, precision=None).labels(_pixels(image))

    def features(self, image: Path | str | UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "dim h w"]:
        """Features of an image, a cell every 8 pixels of the resized image; the codebook clusters these features.

        Raises:
            FgsnError: as `segment`.
        """
        return self.feature_map(_pixels(image)).cpu().numpy()

    def scores(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "classes h w"]:
        """Scores of all labels at the feature cells, on the model's device."""
        return Segmenter(self, precision=None).scores(_pixels(pixels))

    def feature_map(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "dim h w"]:
        """Features at the feature cells, on the model's device."""
        return Segmenter(self, precision=None).features(_pixels(pixels))

    def prepared(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "3 height width"]:
        """The image resized and normalised, on the model's device."""
        # Pixels are copied to the device as bytes, a quarter of the size of floats.
        image = resized(_pixels(pixels), self.short_side)
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return self.normalisation.apply(to_device(image, self.device).float())

    def describe(self) -> dict[str, Any]:
        """The model in plain values, as `fgsn info` prints it."""
        architecture = self.network.architecture
        facts: dict[str, Any] = {
            "kind": "base network" if self.classes else "fine-grained labels",
            "labels": self.clusters,
            "backbone": architecture.backbone,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "feature_dim": architecture.feature_dim,
            "window": f"{self.window} px",
            "windows": self.tiling,
            "short_side": f"{self.short_side} px" if self.short_side else "as the image",
            "input": f"{self.normalisation.order}, mean {self.normalisation.mean}, std {self.normalisation.std}",
        }
        if self.classes:
            facts["classes"] = ", ".join(self.classes)
        if self.codebook is not None:
            facts["codebook"] = f"{self.codebook.clusters} centroids of {self.codebook.centroids.shape[1]} dimensions"
        if self.stationary is not None:
            facts["stationary"] = f"{sum(self.stationary)} of {self.clusters} clusters"
        facts["training"] = {key: str(value) for key, value in self.facts.items()}
        return facts

    def save(self, path: Path | str) -> None:
        """Write the model as one `.safetensors` file."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.codebook is not None:
            tensors |= {f"codebook.{name}": value for name, value in self.codebook.tensors().items()}
        header = {
            "architecture": asdict(self.network.architecture),
            "normalisation": asdict(self.normalisation),
            "short_side": self.short_side,
            "window": self.window,
            "windows": self.tiling,
            "classes": self.classes,
            "stationary": self.stationary,
            "facts": self.facts,
        }
        write_model_file(path, tensors, header)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write a folder for the Hugging Face Hub, with the model file and a model card; `load` accepts the folder."""
        self.save(Path(folder) / MODEL_FILE)
        write_text(Path(folder) / "README.md", model_card(self.describe(), self.facts))


def load(path: Path | str, device: str = "auto") -> Model:
    """Load a model file, the model of a run folder, one that comes with fgsn, or one from the Hugging Face Hub.

    Args:
        path: a path, world:tiny or world:labels (see `fgsn.inference.packaged`), or hf://owner/name.
        device: auto, cpu or cuda.

    Raises:
        FgsnError: the file is missing, is not an fgsn model, or its contents are inconsistent.
    """
    path = _file(path)
    place = prepare_device(device)
    tensors, header = read_model_file(path)
    try:
        network = _network(Architecture.from_dict(header["architecture"]), _with_prefix(tensors, "network."))
        codebook = _with_prefix(tensors, "codebook.")
        model = Model(
            network=network.eval().requires_grad_(False).to(place),
            normalisation=Normalisation.from_dict(header["normalisation"]),
            short_side=header["short_side"],
            window=header["window"],
            tiling=header.get("windows", "aligned"),
            codebook=Codebook.from_tensors(codebook).to(place) if codebook else None,
            classes=tuple(header["classes"]) if header["classes"] is not None else None,
            stationary=tuple(header["stationary"]) if header["stationary"] is not None else None,
            facts=header["facts"],
        )
        _check(model)
    except MissingExtraError:
        raise
    except (KeyError, TypeError, RuntimeError, ValueError, FgsnError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FgsnError(f"{path} is inconsistent ({reason}); it is damaged or from another version") from None
    return model


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, or of the model file of a run folder; identifies the model.

    Raises:
        FgsnError: there is no such file.
    """
    path = _file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror}") from None


def _file(path: Path | str) -> Path:
    if on_hub(path):
        return downloaded(path)
    if is_packaged(path):
        return packaged(path)
    if str(path).startswith(("imagenet:", "timm/")) and not Path(path).exists():
        raise FgsnError(f"{path} is no model yet: fgsn import {path} --out start.safetensors makes one")
    path = as_path(path)
    if not path.is_dir():
        return path
    if not (path / MODEL_FILE).exists():
        inside = next((folder for folder in sorted(path.glob("*")) if (folder / MODEL_FILE).is_file()), None)
        hint = f"; did you mean {inside}?" if inside else ""
        raise FgsnError(
            f"{path} contains no {MODEL_FILE}: it is not a run folder, or its training has not finished{hint}"
        )
    return path / MODEL_FILE


def _network(architecture: Architecture, weights: dict[str, Tensor]) -> PSPNet:
    """The network with these weights; memory is allocated after their names and shapes have been checked."""
    with torch.device("meta"):
        network = PSPNet(architecture)
    expected = network.state_dict()
    if odd := sorted(expected.keys() ^ weights.keys()):
        raise ValueError(f"{len(odd)} weights are missing or unexpected, first {odd[0]}")
    for name, value in weights.items():
        if value.shape != expected[name].shape or value.is_floating_point() != expected[name].is_floating_point():
            wrong, right = (f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (value, expected[name]))
            raise ValueError(f"{name} is {wrong} instead of {right}")
    if architecture.backbone.startswith("timm/"):  # builds tables that are not part of the weights
        network = PSPNet(architecture)
    else:
        network.to_empty(device="cpu")
    network.load_state_dict(weights)
    return network


def _check(model: Model) -> None:
    """Raise ValueError unless the parts of a model from a file are consistent."""
    if type(model.window) is not int or not STRIDE < model.window <= LARGEST_SIDE or model.window % STRIDE != 1:
        raise ValueError(f"window {model.window}")
    if model.tiling not in get_args(Tiling):
        raise ValueError(f"windows {model.tiling}")
    if type(model.short_side) is not int or not 0 <= model.short_side <= LARGEST_SIDE:
        raise ValueError(f"short_side {model.short_side}")
    if not isinstance(model.facts, dict):
        raise ValueError("facts are not a mapping")
    for name, values, kind in (("classes", model.classes, str), ("stationary", model.stationary, bool)):
        if values is not None and not (len(values) == model.clusters and all(type(v) is kind for v in values)):
            raise ValueError(f"{name} are not {model.clusters} values of type {kind.__name__}")
    for name, values in model.network.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} contains values that are not finite; its training diverged")
        if name.endswith("running_var") and (values < 0).any():
            raise ValueError(f"{name} contains negative variances")
    if model.codebook is not None:
        parts, dim = model.codebook.tensors(), model.network.architecture.feature_dim
        mean, projection, centroids = (tuple(parts[name].shape) for name in ("mean", "projection", "centroids"))
        fits = mean == (dim,) and projection[:1] == (dim,) and centroids == (model.clusters, *projection[1:])
        if not (fits and len(projection) == 2 and all(part.is_floating_point() for part in parts.values())):
            raise ValueError(f"codebook of shapes {mean}, {projection}, {centroids}")
        if not all(torch.isfinite(part).all() for part in parts.values()):
            raise ValueError("the codebook contains values that are not finite")


def prepare_device(name: str) -> torch.device:
    """The device of a --device flag, set up for this process; auto selects a GPU if there is one.

    On a GPU, float32 then means float32: TF32, with which cuDNN computes convolutions by default and which rounds their
    input to 10 bits, is switched off.

    Raises:
        FgsnError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise FgsnError(f"there is no device '{name}'; take auto, cpu or cuda") from None
    if device.type == "cuda" and torch.cuda.device_count() <= (device.index or 0):
        raise FgsnError(f"--device {name}: no GPU that this installation of torch can use was found; take --device cpu")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU through pinned memory, so that the program does not wait for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _pixels(image: Path | str | np.ndarray) -> np.ndarray:
    if isinstance(image, str | Path):
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise FgsnError(f"an image should be a path or a NumPy array, not {type(image).__name__}; see np.asarray")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise FgsnError(f"an image should be (height, width, 3) uint8, RGB, not {image.dtype} of shape {image.shape}")
    return image


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
