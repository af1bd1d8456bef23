"""Settings of the commands that make and check data."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from fgsn.config.base import Positional, Settings, above_zero, at_least, require

PAIRS = ("similar", "order", "all")
"""Rules by which fgsn correspond pairs images."""
CONDITIONS = ("sun", "autumn", "bare", "snow", "rain", "night")


@dataclass(frozen=True, kw_only=True)
class WorldSettings(Settings):
    """Make the synthetic town: a procedural data set, driven in several conditions."""

    out: Path
    """Folder to write the data set to."""
    places: int = 24
    """Number of places (camera positions along the route)."""
    size: tuple[int, int] = (512, 384)
    """Width and height of the images in pixels, at most 1024 x 768."""
    conditions: tuple[str, ...] = CONDITIONS
    """Conditions in addition to 'reference', which is always included."""
    heading: float = 0.0
    """Viewing direction: degrees to the right of the driving direction. CMU Seasons has 45 on either side."""
    stray: float = 0.0
    """How far images of the conditions stray from the reference's poses: 1 is up to a lane, 3 m and 20 degrees."""
    points: int = 1500
    """Maximum number of correspondences per image pair."""
    moved_pairs: int = 0
    """Neighbouring places (8 m, before and behind) to pair each reference image with, per condition; for training."""
    workers: int | None = None
    """Processes that render; default: one per core; 0: none beside the main process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, places=2, points=1, moved_pairs=0, workers=0)
        width, height = self.size
        require(
            64 <= width <= 1024 and 48 <= height <= 768,
            f"--size must be between 64 x 48 and 1024 x 768, not {width} x {height}",
        )
        unknown = set(self.conditions) - set(CONDITIONS)
        require(not unknown, f"unknown conditions {sorted(unknown)}; known are: {', '.join(CONDITIONS)}")
        require(len(set(self.conditions)) == len(self.conditions) > 0, "--conditions requires distinct names")
        require(-90 <= self.heading <= 90, f"--heading must be between -90 and 90 degrees, not {self.heading:g}")
        require(0 <= self.stray <= 1, f"--stray must be between 0 and 1, not {self.stray:g}")


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Settings):
    """Split a data set by place into training and validation, and list its reference images and keypoints."""

    dataset: Annotated[Path, Positional("DATASET")]
    """The data set: a folder with images/ and correspondence_data/."""
    validation_share: float = 0.15
    """Share of the places to hold out for validation; 0 holds out none."""
    split: Literal["random", "end"] = "random"
    """Which places to hold out: random ones, or those at the end of the drive (the last in name order)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_validation_share(self)


@dataclass(frozen=True, kw_only=True)
class CorrespondSettings(Settings):
    """Make a data set with correspondences across conditions from images, COLMAP models or depth maps.

    From images alone, correspondences are matched by appearance and verified by geometry. With --maps, --depth or
    --poses they are found by position, which also works where a place looks different in every season.
    """

    images: Path
    """Folder of images with one subfolder per condition, such as summer/ and snow/."""
    reference: str
    """The condition that labels come from: the name of its subfolder."""
    out: Path
    """Data set to write; it links to the images."""
    maps: tuple[str, ...] = ()
    """COLMAP model with the images of all conditions, or CONDITION=MODEL for each, all in one coordinate frame."""
    poses: tuple[Path, ...] = ()
    """Poses of the images in one frame: lists `name qw qx qy qz tx ty tz` (world to camera), or COLMAP models."""
    intrinsics: tuple[Path, ...] = ()
    """Lists `name MODEL width height parameters…`; the name is that of an image or of a folder of images."""
    trust_poses: bool = False
    """Go on where verified matches say that the poses or maps of two conditions are in different frames."""
    depth: Path | None = None
    """Folder of depth maps, named like the images (16-bit or float images, .npy, .npz); requires --poses."""
    depth_unit: float = 0.001
    """Length of one depth unit in the unit of the poses: 0.001 for depth in millimetres and poses in metres."""
    metres_per_unit: float | None = None
    """Metres per unit of the poses or maps, if known: kept in dataset.yaml for score-poses and report."""
    reconstruct: bool = False
    """From images alone: build one COLMAP model over all conditions and take the correspondences from it."""
    matcher: str = "xfeat-lighterglue"
    """Image matcher: xfeat-lighterglue, xfeat (faster), aliked, disk or sift."""
    keypoints: int = 2048
    """Maximum number of local features per image."""
    pairs: str = "similar"
    """From images alone, pairs to match: similar, order, all, positions:FILE (name x y), or a FILE of pairs."""
    per_condition: int = 2
    """Maximum number of target images per reference image and condition."""
    moved_pairs: int = 0
    """Maximum number of further target images, from before and behind, per image and condition; for training."""
    points: int = 1500
    """Maximum number of correspondences per image pair."""
    workers: int | None = None
    """Processes that match images, or threads on a GPU; default: one per core; 0: none beside the main process."""
    densify: bool = True
    """From images alone: add points between the matches where the surrounding matches agree on the motion."""
    validation_share: float = 0.15
    """Share of the places to hold out for validation; 0 holds out none."""
    split: Literal["random", "end"] = "end"
    """Which places to hold out: random ones, or those at the end of the drive (the last in name order)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_validation_share(self)
        at_least(self, per_condition=1, moved_pairs=0, points=20, workers=0, keypoints=100)
        close = get_close_matches(self.pairs, PAIRS, 1)
        require(self.pairs in PAIRS or not close, f"--pairs {self.pairs}: did you mean {' '.join(close)}?")
        above_zero(self, "metres_per_unit", "depth_unit")
        require(not (self.maps and (self.poses or self.depth)), "give either --maps or --poses (with --depth)")
        require(self.depth is None or bool(self.poses), "--depth requires --poses")
        require(
            len(self.maps) < 2 or all("=" in one for one in self.maps),
            "with several --maps, give each one as CONDITION=MODEL",
        )
        require(
            not (self.reconstruct and (self.maps or self.poses)),
            "--reconstruct builds a model from images alone: leave out --maps and --poses",
        )
        require(
            not self.moved_pairs or bool(self.maps or self.poses or self.reconstruct),
            "--moved-pairs requires the positions of the images: give --maps, --poses or --reconstruct",
        )

    def inputs(self) -> Iterator[tuple[str, Path]]:
        """Those of all settings, and the file of --pairs if it is one."""
        yield from super().inputs()
        if self.pairs not in PAIRS:
            yield "pairs", Path(self.pairs.removeprefix("positions:"))


@dataclass(frozen=True, kw_only=True)
class StartSettings(Settings):
    """From photographs of places in several conditions to labels and a page: correspond, train, segment, report.

    Prints the command of each step. The same command again continues where it stopped.
    """

    photos: Annotated[Path, Positional("PHOTOS")]
    """Folder of photographs with one subfolder per condition, such as summer/ and snow/."""
    reference: str
    """The condition that labels come from: the name of its subfolder. Best: good light, many images."""
    out: Path
    """Folder to write to: data/, run/ and labels/."""
    minutes: float = 15.0
    """Time for the training, about; finding correspondences comes before it."""
    clusters: int = 50
    """Number of clusters K, which are the labels."""
    init: Path = Path("world:labels")
    """Model to start from; the default comes with fgsn."""
    matcher: str = "xfeat"
    """Image matcher: xfeat is fast, xfeat-lighterglue more thorough."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, clusters=2)
        above_zero(self, "minutes")


@dataclass(frozen=True, kw_only=True)
class CheckSettings(Settings):
    """Find problems in a data set, labelled images, a model or a run before work starts."""

    path: Annotated[Path, Positional("PATH")]
    """A data set folder, a model file, a run folder, or labelled images as FORMAT:PATH (see fgsn pretrain --help)."""
    decode: int = 1000
    """Number of images to decode fully, evenly spread; for the others only the size is read. 0 decodes all."""
    pictures: Path | None = None
    """Folder for pictures of a data set: the points of image pairs, most suspicious first, and where the points lie."""
    pairs: int = 12
    """Number of image pairs to draw: one half the most suspicious, the other half random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, decode=0, pairs=1)


@dataclass(frozen=True, kw_only=True)
class ConvertVistasSettings(Settings):
    """Convert the labels of Mapillary Vistas v1.2 to Cityscapes classes; if interrupted, run it again to continue."""

    root: Annotated[Path, Positional("ROOT")]
    """Mapillary Vistas v1.2: the folder with training/ and validation/."""
    lane_markings: bool = False
    """Keep lane markings separate, for pretrain --data vistas-lanes:ROOT (20 classes, not vistas-cityscapes' 19)."""
    out: Path | None = None
    """Folder to write to instead of ROOT; it links to the images in ROOT and can be used like ROOT."""
    workers: int | None = None
    """Processes that convert; default: one per core; 0: none beside the main process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, workers=0)


def _check_validation_share(settings: PrepareSettings | CorrespondSettings) -> None:
    share = settings.validation_share
    require(0.0 <= share < 1.0, f"--validation-share must be at least 0 and below 1, not {share:g}")
