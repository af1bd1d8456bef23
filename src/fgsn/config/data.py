"""Settings of the commands that make and check data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fgsn.config.base import Settings, at_least, require

CONDITIONS = ("sun", "autumn", "bare", "snow", "rain", "night")


@dataclass(frozen=True, kw_only=True)
class WorldSettings(Settings):
    """Make the synthetic town: a procedural town, driven in several conditions, as a data set."""

    out: Path
    """Folder to write the data set to."""
    places: int = 24
    """Number of places (camera positions along the route)."""
    size: tuple[int, int] = (512, 384)
    """Width and height of the images in pixels, at most 1024 x 768."""
    conditions: tuple[str, ...] = CONDITIONS
    """Conditions beside the reference; 'reference' is always driven."""
    heading: float = 0.0
    """Where the camera looks: degrees to the right of the car's way; in CMU Seasons 45 to either side."""
    points: int = 1500
    """Correspondences per pair of images, at most."""
    workers: int = 0
    """Processes that render; 0 takes one per core."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.places >= 2, f"--places must be at least 2, not {self.places}")
        width, height = self.size
        require(
            64 <= width <= 1024 and 48 <= height <= 768,
            f"--size must lie between 64 x 48 and 1024 x 768, not {width} x {height}",
        )
        unknown = set(self.conditions) - set(CONDITIONS)
        require(not unknown, f"unknown conditions {sorted(unknown)}; known are: {', '.join(CONDITIONS)}")
        require(len(set(self.conditions)) == len(self.conditions) > 0, "--conditions wants distinct names")
        require(-90 <= self.heading <= 90, f"--heading must lie between -90 and 90 degrees, not {self.heading:g}")
        require(self.points >= 1, "--points must be at least 1")


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Settings):
    """Split a data set by place into training and validation, and list its reference images and key points."""

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="DATASET")]
    """The data set: a folder with images/ and correspondence_data/."""
    validation_share: float = 0.15
    """Share of the places that is kept for validation; 0 keeps none."""
    split: Literal["random", "end"] = "random"
    """Which places are for validation: random ones, or those at the end of a drive (the last in name order)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.validation_share < 1.0, "--validation-share must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class CorrespondSettings(Settings):
    """Make a data set with correspondences across conditions from images, COLMAP models or depth maps.

    With images alone, correspondences are matched by appearance and verified by geometry; --maps, --depth or --poses
    find them by position, which also reaches what looks different in every season.
    """

    images: Path
    """Folder of images with one subfolder per condition, such as summer/ and snow/."""
    reference: str
    """The condition that labels will come from: the name of its subfolder."""
    out: Path
    """Data set to write; it links to the images."""
    maps: tuple[str, ...] = ()
    """COLMAP model with images of all conditions, or CONDITION=MODEL for each, all in one frame."""
    poses: tuple[Path, ...] = ()
    """Poses of the images in one frame: lists `name qw qx qy qz tx ty tz` (world to camera), or COLMAP models."""
    intrinsics: tuple[Path, ...] = ()
    """Lists `name MODEL width height parameters…`; the name is an image's, or that of a folder of images."""
    depth: Path | None = None
    """Folder of depth maps, laid out and named like the images (16-bit or float images, .npy, .npz); wants --poses."""
    depth_unit: float = 0.001
    """What a 1 in a depth map means in the unit of the poses: 0.001 for millimetres beside metres."""
    reconstruct: bool = False
    """From images alone: build one model over all conditions with COLMAP, and take correspondences from it."""
    matcher: str = "xfeat-lighterglue"
    """What matches images: xfeat-lighterglue, xfeat (faster), aliked, disk or sift."""
    keypoints: int = 2048
    """Local features per image, at most."""
    pairs: str = "similar"
    """Which images to match from images alone: similar, order, all, positions:FILE (name x y), or a FILE of pairs."""
    per_condition: int = 2
    """Target images per reference image and condition, at most."""
    points: int = 1500
    """Correspondences per pair of images, at most."""
    workers: int = 0
    """Processes that match images on the CPU; 0 takes one per core."""
    densify: bool = True
    """From images alone: also points between the matches, where the matches around them agree on how they move."""
    validation_share: float = 0.15
    """Share of the places that is kept for validation; 0 keeps none."""
    split: Literal["random", "end"] = "end"
    """Which places are for validation: random ones, or those at the end of a drive (the last in name order)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.validation_share < 1.0, "--validation-share must lie between 0 and 1")
        at_least(self, per_condition=1, points=20, workers=0, keypoints=100)
        require(self.depth_unit > 0, "--depth-unit must be above 0")
        require(not (self.maps and (self.poses or self.depth)), "give either --maps, or --poses (with --depth)")
        require(self.depth is None or bool(self.poses), "--depth wants --poses as well")
        require(
            len(self.maps) < 2 or all("=" in one for one in self.maps),
            "several --maps are given as CONDITION=MODEL, one for each condition",
        )
        require(not (self.reconstruct and (self.maps or self.poses)), "--reconstruct makes a model from images alone")


@dataclass(frozen=True, kw_only=True)
class CheckSettings(Settings):
    """Say what is wrong with a data set, labelled images, a model or a run before work starts."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="PATH")]
    """A data set folder, a model file, a run folder, or labelled images as FORMAT:PATH (see fgsn pretrain --help)."""
    decode: int = 1000
    """Images of a set to decode fully, spread evenly; of the others only the size is read. 0 decodes all."""
    pictures: Path | None = None
    """Folder for pictures of a data set: points on pairs of images, what looks wrong first, and where points lie."""
    pairs: int = 12
    """Pairs of images to draw: half of them those that look most wrong, the others random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.decode >= 0, "--decode must not be negative")
        at_least(self, pairs=1)


@dataclass(frozen=True, kw_only=True)
class ConvertVistasSettings(Settings):
    """Turn the labels of Mapillary Vistas v1.2 into Cityscapes' classes; run again, it goes on where it stopped."""

    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="ROOT")]
    """Mapillary Vistas v1.2: the folder with training/ and validation/."""
    lane_markings: bool = False
    """Keep lane markings apart: pretrain --data vistas-lanes:ROOT (20 classes); else vistas-cityscapes:ROOT (19)."""
    out: Path | None = None
    """Folder to write to instead of ROOT; it links to ROOT's images, so it opens like ROOT."""
    workers: int = 0
    """Processes that convert; 0 takes one per core."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, workers=0)
