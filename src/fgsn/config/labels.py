"""Settings of the commands that use models: label maps and metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fgsn.config.base import OnBadImage, Positional, Settings, above_zero, at_least, check_window, flag, require


@dataclass(frozen=True, kw_only=True)
class SegmentSettings(Settings):
    """Write label maps of an image, a folder of images or a list of images."""

    model: Path
    """Model file, run folder, or world:labels, which comes with fgsn."""
    images: Path
    """An image, a folder (searched with its subfolders) or a text file with one image path per line."""
    out: Path
    """Folder to write to, not among the images; its subfolders mirror those of the images."""
    save: tuple[Literal["labels", "overlay", "features", "scores"], ...] = ("labels",)
    """What to save."""
    short_side: int | None = None
    """Resize images so that the shorter side has this many pixels; 0: keep the size; default: as in training."""
    window: int = 0
    """Side of the sliding window in pixels (8 n + 1); 0: the model's own."""
    tiling: Literal["aligned", "published"] | None = None
    """Windows aligned with feature cells, or exactly those of the authors' code; default: the model's own."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network; auto: bfloat16 if the processor supports it, but float32 for the published tiling."""
    memory: float = 2.0
    """Memory in GiB for windows computed at once, in addition to the weights and the scores of an image."""
    batch: int = 0
    """Windows computed at once; 0: as many as fit into --memory."""
    overwrite: bool = False
    """Recompute label maps that exist already."""
    on_bad_image: OnBadImage = "skip"
    """If an image cannot be read: skip it and list it at the end (exit code 1), or stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = ("labels", "overlay", "features", "scores")
        require(bool(self.save), f"--save requires at least one of {', '.join(kinds)}")
        unknown = [kind for kind in self.save if kind not in kinds]
        require(not unknown, f"--save must be among {', '.join(kinds)}, not {', '.join(unknown)}")
        at_least(self, short_side=0, batch=0)
        above_zero(self, "memory")
        check_window(self.window)


@dataclass(frozen=True, kw_only=True)
class StationarySettings(Settings):
    """Find the stationary clusters, those with correspondences, and store them with the model."""

    model: Path
    """Model file or run folder."""
    data: Path
    """Prepared data set."""
    out: Path
    """Folder to write the model with its stationary clusters to."""
    split: Literal["validation", "train", "all"] = "validation"
    """Which image pairs to count."""
    threshold: float | None = None
    """Share of a cluster's pixels that must have a correspondence; default: 0.01, or less if the set is sparse."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.threshold is None or 0.0 <= self.threshold < 1.0,
            f"--threshold must be at least 0 and below 1, not {self.threshold}",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Settings):
    """Measure at correspondences how well labels survive a change of condition."""

    model: Path
    """Model file or run folder: a cluster model or a base network."""
    data: Path
    """Prepared data set."""
    out: Path
    """Folder to write label maps and results.json to."""
    split: Literal["validation", "train", "all"] = "validation"
    """Which image pairs to measure on."""
    resamples: int = 200
    """Random halves of the places to draw for the intervals; 0: no intervals."""
    baseline: Path | None = None
    """Base network to measure beside the model, such as the one that it was trained from: a control."""
    moved_views: int = 200
    """Target images to look at through moved views, at most; 0: none. Each costs two more label maps."""
    candidates: str | None = None
    """Matcher (sift, xfeat, ...) on whose right and wrong matches the labels are measured too; default: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, moved_views=0, resamples=0)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """Export a model, or its labels, to other programs: ONNX, torch, the Hugging Face Hub, hloc, PLY, COLMAP.

    onnx and torch: the network from image to label map; hub: model file and model card; hloc: labels and features at
    keypoints; ply and colmap: a map whose points have the colours of their labels; map: the labelled map as a folder
    that loads quickly.
    """

    model: Annotated[Path, Positional("MODEL")]
    """Model file, run folder, or hf://owner/name."""
    out: Path
    """Folder to write to."""
    format: tuple[Literal["onnx", "torch", "hub", "hloc", "ply", "colmap", "map"], ...] = ("onnx",)
    """Formats to write."""
    size: tuple[int, int] | None = None
    """For onnx and torch: width and height of the input images; default: any size above the model's window."""
    outputs: tuple[Literal["labels", "scores", "features"], ...] = ("labels",)
    """For onnx and torch: what the network returns."""
    images: Path | None = None
    """Images on which onnx is compared with PyTorch; for hloc: the images of the keypoints."""
    keypoints: Path | None = None
    """For hloc: file with keypoints (hloc's features.h5)."""
    map: Path | None = None
    """For ply, colmap and map: COLMAP model."""
    map_labels: Path | None = None
    """For ply, colmap and map: label maps of the map's images (fgsn segment --out)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.format), "--format requires at least one format")
        require(bool(self.outputs), "--outputs requires at least one output")
        require(self.size is None or min(self.size) > 0, "--size must be a width and a height in pixels, both above 0")
        need = {"hloc": ("images", "keypoints"), "ply": ("map", "map_labels"), "colmap": ("map", "map_labels")}
        need["map"] = need["ply"]
        for name in self.format:
            missing = [field for field in need.get(name, ()) if getattr(self, field) is None]
            require(not missing, f"--format {name} requires {' and '.join(map(flag, missing))}")


@dataclass(frozen=True, kw_only=True)
class InfoSettings(Settings):
    """Describe a model file."""

    model: Annotated[Path, Positional("MODEL")]
    """Model file or run folder."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """Run the whole pipeline on the synthetic town and write a page with metrics and pictures."""

    out: Path = Path("demo")
    """Folder to write to."""
    quick: bool = False
    """Make a small run: fewer places, smaller images, fewer steps."""
