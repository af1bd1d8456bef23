"""Settings of the commands that use models: label maps and metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fgsn.config.base import OnBadImage, Settings, at_least, check_window, require


@dataclass(frozen=True, kw_only=True)
class SegmentSettings(Settings):
    """Write label maps of an image, a folder of images or a list of images."""

    model: Path
    """Model file or run folder."""
    images: Path
    """An image, a folder (searched with its subfolders) or a text file with one image path per line."""
    out: Path
    """Folder to write to; it mirrors the folders of the images."""
    save: str = "labels"
    """What to save, separated by commas: labels, overlay, features, scores."""
    short_side: int | None = None
    """Resize images to this shorter side before the network sees them; 0 leaves them, default: as in training."""
    window: int = 0
    """Side of the sliding window in pixels (8 n + 1); 0 takes the model's own."""
    windows: Literal["aligned", "published"] | None = None
    """Windows on feature cells, or exactly those of the authors' code; default: what the model was made for."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto takes bfloat16 where the processor has it, but not for published windows."""
    memory: float = 2.0
    """Memory in GiB for the windows computed at once; weights and the scores of an image come on top."""
    batch: int = 0
    """Windows computed at once; 0 takes as many as fit into --memory."""
    overwrite: bool = False
    """Make label maps again that exist already."""
    on_bad_image: OnBadImage = "skip"
    """An image that cannot be read: skip goes on and lists it at the end (exit code 1), stop ends there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = set(self.save.split(","))
        unknown = kinds - {"labels", "overlay", "features", "scores"}
        require(not unknown, f"--save knows labels, overlay, features, scores, not {', '.join(sorted(unknown))}")
        at_least(self, short_side=0, batch=0)
        require(self.memory > 0, f"--memory must be above 0, not {self.memory}")
        check_window(self.window)


@dataclass(frozen=True, kw_only=True)
class StationarySettings(Settings):
    """Find the clusters that carry correspondences (stationary things), and store them with the model."""

    model: Path
    """Model file or run folder."""
    data: Path
    """Prepared data set."""
    out: Path
    """Folder to write to; the model with its stationary clusters is written there."""
    split: Literal["validation", "train", "all"] = "validation"
    """Which pairs to count on."""
    threshold: float | None = None
    """Share of a cluster's pixels with a correspondence that makes it stationary; 0.01, or less in sparse sets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.threshold is None or 0.0 <= self.threshold < 1.0, "--threshold must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Settings):
    """Measure how well labels survive the change of condition, at correspondences."""

    model: Path
    """Model file or run folder: a cluster model or a base network."""
    data: Path
    """Prepared data set."""
    out: Path
    """Folder to write to: label maps, results.json."""
    split: Literal["validation", "train", "all"] = "validation"
    """Which pairs to measure on."""
    resamples: int = 200
    """Random halves of the places to draw for the interval of information_bits; 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.resamples >= 0, "--resamples must not be negative")


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """Write a model, or labels that it made, for other programs: ONNX, torch, the Hugging Face Hub, hloc, PLY, COLMAP.

    onnx and torch: the network from image to label map; hub: model file and model card; hloc: labels and features at
    key points; ply and colmap: a map whose points have the colours of their labels; map: the labelled map in a folder
    that loads at once.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="MODEL")]
    """Model file, run folder, or hf://owner/name."""
    out: Path
    """Folder to write to."""
    format: tuple[Literal["onnx", "torch", "hub", "hloc", "ply", "colmap", "map"], ...] = ("onnx",)
    """What to write."""
    size: tuple[int, int] | None = None
    """Width and height of the images that onnx and torch take; default: any size above the model's window."""
    outputs: tuple[Literal["labels", "scores", "features"], ...] = ("labels",)
    """What onnx and torch return."""
    images: Path | None = None
    """Images: onnx is compared with PyTorch on them; hloc's key points lie in them."""
    keypoints: Path | None = None
    """File with key points (hloc's features.h5), for hloc."""
    map: Path | None = None
    """COLMAP model, for ply, colmap and map."""
    map_labels: Path | None = None
    """Label maps of the map's images (fgsn segment --out), for ply, colmap and map."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.format), "--format wants at least one format")
        require(bool(self.outputs), "--outputs wants at least one output")
        require(self.size is None or min(self.size) > 0, "--size wants width and height in pixels")
        need = {"hloc": ("images", "keypoints"), "ply": ("map", "map_labels"), "colmap": ("map", "map_labels")}
        need["map"] = need["ply"]
        for name in self.format:
            missing = [field for field in need.get(name, ()) if getattr(self, field) is None]
            flags = " and ".join(f"--{field.replace('_', '-')}" for field in missing)
            require(not missing, f"--format {name} wants {flags}")


@dataclass(frozen=True, kw_only=True)
class InfoSettings(Settings):
    """Say what is inside a model file."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="MODEL")]
    """Model file or run folder."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """Run the whole chain on the synthetic town and write a page with metrics and pictures."""

    out: Path = Path("demo")
    """Folder to write to."""
    quick: bool = False
    """The smallest small run: fewer places, smaller images, fewer steps."""
