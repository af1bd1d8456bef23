"""Settings of the commands about poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fgsn.config.base import Positional, Settings, above_zero, at_least, flag, require

AUGMENT_WEIGHT = 0.2
"""Default weight of labels in descriptors; docs/localization.md has the measurements."""
LARGEST_CHOSEN = 0.5
"""Largest weight that `fgsn augment --data` chooses."""


@dataclass(frozen=True, kw_only=True)
class LocalizeSettings(Settings):
    """Estimate the poses of query images in a map, with or without labels that survive the seasons.

    p3p uses all matches; ssmc drops matches whose labels differ between query and map; gsmc samples matches by how
    well the labels around them agree, given rough priors of gravity and camera height.
    """

    map: Path
    """COLMAP model of the reference images; with --hloc also a map folder (fgsn export --format map)."""
    queries: tuple[Path, ...]
    """Query lists `name MODEL width height parameters…`, as in hloc; best one list per condition."""
    out: Path
    """Result file to write: lines `name qw qx qy qz tx ty tz`, from the world to the camera."""
    method: Literal["p3p", "ssmc", "gsmc"] = "ssmc"
    """How to estimate poses from matches."""
    map_labels: Path | None = None
    """Label maps of the map's images (fgsn segment --out); required by ssmc and gsmc, unless --map is a map folder."""
    query_labels: Path | None = None
    """Label maps of the queries; required by ssmc and gsmc."""
    model: Path | None = None
    """Model of the labels; those it marks as not stationary are ignored; --augment and --retrieval use it."""
    label_window: float = 0.02
    """Sigma of ssmc's window around keypoints, as a share of the longer side; 0: a single pixel, as published."""
    similarity: float = 0.3
    """Similarity of the labels at both ends that ssmc requires of a match: 0 keeps all, 1 requires equal shares."""
    priors: tuple[Path, ...] = ()
    """Lists `name gx gy gz height`: gravity in the camera frame, camera height; default: of a similar map image."""
    gravity_noise: float = 1.5
    """Standard deviation of the priors' gravity about each axis in degrees."""
    height_noise: float = 0.3
    """Standard deviation of the priors' height in the unit of the map."""
    up: tuple[float, float, float] | None = None
    """Up in the map, opposite to gravity; heights are along it; default: z with --priors, else as the map's cameras."""
    hloc: Path | None = None
    """Folder with hloc's pairs of the queries, features and matches; without it, fgsn matches the images."""
    images: Path | None = None
    """Folder of all images, if fgsn matches them; names in the map and the query lists are relative to it."""
    matcher: str = "xfeat-lighterglue"
    """xfeat-lighterglue, xfeat (faster), aliked, disk or sift; add -unfiltered for more matches, most of them wrong."""
    augment: float | None = None
    """Weight of --model's labels in descriptors; default: 0.2 with --model, if the matcher compares descriptors."""
    augment_position: float = 0.0
    """Weight of the position in the image: only for queries taken from the same poses as the map, as by a car."""
    keypoints: int = 2048
    """Maximum number of local features per image."""
    retrieved: int = 10
    """Number of map images to match each query with: the most similar ones; 0: all points of the map at once."""
    retrieval: Literal["local", "labels", "both"] = "local"
    """How the most similar images are found: by local features, by the labels of --model (fgsn retrieve), or both."""
    work: Path | None = None
    """Folder for features, matches and the map made from them; default: next to --out."""
    workers: int | None = None
    """Processes that match images, or threads on a GPU; default: one per core; 0: none beside the main process."""
    max_error: float = 8.0
    """Maximum reprojection error of an inlier in pixels."""
    solver: Literal["p3p", "gravity"] = "p3p"
    """Minimal solver: three matches, or two and the priors' gravity, which requires far fewer samples."""
    min_confidence: float = 0.0
    """Refuse poses that are right (within 5 m 10°) with a lower probability; 0: write all."""
    naming: Literal["as is", "cmu", "robotcar"] = "as is"
    """Image names in the result file: as in the query lists, or as visuallocalization.net requires."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.queries), "--queries requires at least one list")
        require(self.hloc is not None or self.images is not None, "give --hloc, or --images to match here")
        require(self.hloc is None or self.images is None, "give --hloc, or --images to match here, not both")
        require(
            self.method == "p3p" or self.query_labels is not None,
            f"--method {self.method} requires --map-labels and --query-labels; --method p3p needs no labels",
        )
        require(self.up is None or any(self.up), "--up must be a direction, not 0 0 0")
        at_least(self, keypoints=100, retrieved=0, workers=0, gravity_noise=0, height_noise=0, label_window=0)
        require(
            self.label_window <= 0.5,
            f"--label-window is a share of the image's longer side, at most 0.5, not {self.label_window:g}",
        )
        require(0 <= self.similarity <= 1, f"--similarity must be between 0 and 1, not {self.similarity:g}")
        require(0 <= self.min_confidence <= 1, f"--min-confidence must be between 0 and 1, not {self.min_confidence:g}")
        above_zero(self, "max_error")
        check_weights(augment=self.augment or 0.0, augment_position=self.augment_position)
        require(not self.augment or self.model is not None, "--augment requires --model")
        require(self.retrieval == "local" or self.model is not None, f"--retrieval {self.retrieval} requires --model")
        require(
            self.retrieval == "local" or self.retrieved > 0,
            f"give --retrieval {self.retrieval}, or --retrieved 0, which looks for no images, not both",
        )
        require(
            not (self.augment or self.augment_position) or self.hloc is None,
            "--augment and --augment-position are for matching --images; for --hloc, match the file of fgsn augment",
        )
        require(
            self.retrieval == "local" or self.hloc is None,
            "--retrieval is for matching --images; for --hloc, write the pairs with fgsn retrieve",
        )
        require(self.retrieved > 0 or self.hloc is None, "--retrieved 0 is for matching --images, not for --hloc")


@dataclass(frozen=True, kw_only=True)
class RetrieveSettings(Settings):
    """Find the map images that show the place of each query, by their labels; writes hloc's list of pairs.

    Images are compared by the label histograms of 4 x 4 parts, so by what is where in the image.
    """

    map: Path
    """COLMAP model of the map images."""
    queries: tuple[Path, ...]
    """Query lists `name MODEL width height parameters…`, as in hloc; best one list per condition."""
    images: Path
    """Folder of all images; names in the map and the query lists are relative to it."""
    model: Path
    """Model file, run folder, or world:labels, which comes with fgsn."""
    out: Path
    """File to write, with a line `query map-image` per pair, the most similar first."""
    count: int = 10
    """Number of map images per query."""
    work: Path | None = None
    """Folder for label histograms of single images; default: work, next to --out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.queries), "--queries requires at least one list")
        at_least(self, count=1)


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(Settings):
    """Append label probabilities to the descriptors of a features.h5 of hloc, for hloc's own nearest neighbours.

    Use the result in place of the file that it was made from. With --data, the weight is chosen: the one that finds
    most right matches between the validation pairs of a data set.
    """

    features: Path
    """hloc's features.h5 of map images and queries: SIFT, SuperPoint or any other descriptors compared by nearness."""
    images: Path
    """Folder of the images; names in the file are relative to it."""
    model: Path
    """Model file, run folder, or world:labels; a cluster model or a base network."""
    out: Path
    """File to write, in the layout of --features."""
    weight: float | None = None
    """Weight of the labels, below 1; the rest is the descriptor's. Default: 0.2, or with --data the best one."""
    position: float = 0.0
    """Weight of the position in the image: only for queries taken from the same poses as the map, as by a car."""
    dimensions: int = 64
    """Numbers per key point to keep of the label probabilities; more labels are projected."""
    projection: Path | None = None
    """Projection that an earlier call wrote beside --out, so that its file and this one can be matched."""
    data: Path | None = None
    """Prepared data set on whose validation pairs the weight is chosen; without any, on its training pairs."""
    baseline: Path | None = None
    """With --data: base network whose classes are compared as a control."""
    matcher: str = "sift"
    """With --data: sift, xfeat, aliked or disk, the features that are most like those of --features."""
    pairs: int = 50
    """With --data: pairs of images to match, at most."""
    work: Path | None = None
    """Folder for label probabilities and features of single images; default: work, next to --out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = LARGEST_CHOSEN if self.data else AUGMENT_WEIGHT
        check_weights(weight=largest if self.weight is None else self.weight, position=self.position)
        at_least(self, dimensions=1, pairs=1)
        require(self.baseline is None or self.data is not None, "--baseline requires --data")
        require(self.weight is None or self.data is None, "give --weight, or --data to choose it on, not both")


@dataclass(frozen=True, kw_only=True)
class TrackSettings(Settings):
    """Track a camera along image sequences with a particle filter on labels; the map needs no descriptors."""

    map: Path
    """COLMAP model of the reference images, or a map folder (fgsn export --format map)."""
    map_labels: Path | None = None
    """Label maps of the map's images (fgsn segment --out); not needed for a map folder, which contains labels."""
    queries: tuple[Path, ...]
    """Query lists `name MODEL width height parameters…`, one per sequence, in driving order."""
    query_labels: Path
    """Label maps of the queries."""
    odometry: tuple[Path, ...]
    """Lists `name qw qx qy qz tx ty tz`, one per sequence: from the previous camera frame to that of the image."""
    start: Path
    """Rough poses (a result file); the first image of every sequence must have one."""
    data: Path
    """Prepared data set; its training correspondences show how labels change between conditions."""
    data_labels: Path
    """Label maps of the data set's images."""
    out: Path
    """Result file to write."""
    priors: tuple[Path, ...] = ()
    """Lists `name gx gy gz height`, if gravity and camera height are roughly known."""
    particles: int = 1000
    """Number of particles."""
    points: int = 2000
    """Maximum number of map points to project per image."""
    start_metres: float = 3.0
    """Standard deviation of the start position along each axis."""
    start_degrees: float = 5.0
    """Standard deviation of the start rotation about each axis."""

    def __post_init__(self) -> None:
        super().__post_init__()
        paired = len(self.queries) == len(self.odometry) > 0
        require(paired, "--queries and --odometry require one list each per sequence")
        at_least(self, particles=10, points=10, start_metres=0, start_degrees=0)


@dataclass(frozen=True, kw_only=True)
class ScorePosesSettings(Settings):
    """Check a file of poses line by line, and compare the poses with the ground truth."""

    poses: Annotated[Path, Positional("POSES")]
    """Result file, or a folder of them."""
    truth: Path
    """List of true poses, or a folder of lists: in the format of fgsn, Extended CMU or RobotCar."""
    queries: Path | None = None
    """Query list, or a folder of lists, to restrict the evaluation to; default: all images with a true pose."""
    convention: Literal["auto", "translation", "centre", "matrix"] = "auto"
    """Meaning of the true poses' numbers: translation, camera centre, or matrix from camera to world."""
    metres_per_unit: float | None = None
    """Metres per unit of the true poses; default: from dataset.yaml near TRUTH. Without it, lengths are in units."""
    partial: bool = False
    """Ignore poses of images without a true pose instead of refusing them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "metres_per_unit")


def check_weights(**weights: float) -> None:
    """Raise UsageError unless the weights of what is appended to descriptors leave some weight to the descriptors."""
    for name, value in weights.items():
        require(0 <= value < 1, f"{flag(name)} must be at least 0 and below 1, not {value:g}")
    require(sum(weights.values()) < 1, f"{' and '.join(map(flag, weights))} must sum to less than 1")
