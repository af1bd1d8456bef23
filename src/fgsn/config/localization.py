"""Settings of the commands about poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fgsn.config.base import Settings, at_least, require


def is_map_folder(path: Path) -> bool:
    """Whether a path is a labelled map as `fgsn export --format map` writes it."""
    return (path / "map.safetensors").is_file()


@dataclass(frozen=True, kw_only=True)
class LocalizeSettings(Settings):
    """Find the poses of query images in a map, with labels that survive the seasons or without.

    p3p takes all matches; ssmc drops those whose labels in query and map differ; gsmc draws matches by how well the
    labels around them agree, with rough priors of gravity and camera height.
    """

    map: Path
    """COLMAP model of the reference images; with --hloc also a map folder (fgsn export --format map)."""
    queries: tuple[Path, ...]
    """Query lists `name MODEL width height parameters…`, as hloc has them."""
    out: Path
    """Result file to write: lines `name qw qx qy qz tx ty tz`, from the world to the camera."""
    method: Literal["p3p", "ssmc", "gsmc"] = "ssmc"
    """How matches become a pose."""
    map_labels: Path | None = None
    """Label maps of the map's images (fgsn segment --out); wanted by ssmc and gsmc."""
    query_labels: Path | None = None
    """Label maps of the queries."""
    model: Path | None = None
    """Model that made the label maps: labels that it knows not to be stationary are left out (fgsn stationary)."""
    label_window: float = 0.02
    """Deviation of ssmc's window around key points as a share of the longer side; 0: the pixel alone, as published."""
    similarity: float = 0.3
    """How alike the labels around a match must be at both ends for ssmc to keep it: 0 not at all, 1 equal shares."""
    priors: tuple[Path, ...] = ()
    """Lists `name gx gy gz height`: direction of gravity in the camera frame and camera height; wanted by gsmc."""
    gravity_noise: float = 1.5
    """Standard deviation of the priors' gravity about each axis in degrees."""
    height_noise: float = 0.3
    """Standard deviation of the priors' height in the unit of the map."""
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Direction opposite to gravity in the map, for gsmc; the priors' height is counted along it."""
    hloc: Path | None = None
    """Folder with hloc's pairs of the queries, features and matches; without it, images are matched here."""
    images: Path | None = None
    """Folder of all images, for matching here; names of map and queries are relative to it."""
    matcher: str = "xfeat-lighterglue"
    """xfeat-lighterglue, xfeat (faster), aliked, disk or sift; -unfiltered appended: more, mostly wrong matches."""
    keypoints: int = 2048
    """Local features per image, at most."""
    retrieved: int = 10
    """Map images that each query is matched with: those that look most like it."""
    work: Path | None = None
    """Folder that keeps features, matches and the map made of them; default: beside --out."""
    workers: int = 0
    """Processes that match images on the CPU; 0 takes one per core."""
    max_error: float = 8.0
    """Largest error of a match that agrees with a pose, in pixels."""
    solver: Literal["p3p", "gravity"] = "p3p"
    """What poses are drawn from: three matches, or two and the priors' gravity, which needs far fewer draws."""
    naming: Literal["as is", "cmu", "robotcar"] = "as is"
    """Names in the result file: as in the query lists, or as visuallocalization.net wants them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.queries), "--queries wants at least one list")
        require((self.hloc is None) != (self.images is None), "give --hloc, or --images to match here")
        matched_here = is_map_folder(self.map) and self.images is not None
        require(
            not matched_here, f"{self.map} is a map folder, without images: give --hloc, or a COLMAP model as --map"
        )
        inside = is_map_folder(self.map) and (self.method == "gsmc" or self.label_window == 0)
        labels = self.method == "p3p" or ((inside or self.map_labels is not None) and self.query_labels is not None)
        require(labels, f"--method {self.method} wants --map-labels and --query-labels")
        require(self.method != "gsmc" or bool(self.priors), "--method gsmc wants --priors")
        require(self.solver != "gravity" or bool(self.priors), "--solver gravity wants --priors")
        require(any(self.up), "--up must be a direction, not 0 0 0")
        at_least(self, keypoints=100, retrieved=1, workers=0, gravity_noise=0, height_noise=0, label_window=0)
        require(
            self.label_window <= 0.5, f"--label-window is a share of the image's longer side, not {self.label_window:g}"
        )
        require(0 <= self.similarity <= 1, f"--similarity must lie between 0 and 1, not {self.similarity:g}")
        require(self.max_error > 0, "--max-error must be above 0")


@dataclass(frozen=True, kw_only=True)
class TrackSettings(Settings):
    """Track a camera along sequences of images with a particle filter over labels; the map needs no descriptors."""

    map: Path
    """COLMAP model of the reference images, or a map folder (fgsn export --format map)."""
    map_labels: Path | None = None
    """Label maps of the map's images (fgsn segment --out); a map folder has its labels in it."""
    queries: tuple[Path, ...]
    """Query lists `name MODEL width height parameters…`, one for each sequence, in the order of the drive."""
    query_labels: Path
    """Label maps of the queries."""
    odometry: tuple[Path, ...]
    """Lists `name qw qx qy qz tx ty tz` of each camera's frame from the previous image's, one for each sequence."""
    start: Path
    """Rough poses (a result file): the first image of every sequence must have one."""
    data: Path
    """Prepared data set, at whose training correspondences it is counted how labels change between conditions."""
    data_labels: Path
    """Label maps of the data set's images."""
    out: Path
    """Result file to write."""
    priors: tuple[Path, ...] = ()
    """Lists `name gx gy gz height`, if gravity and camera height are roughly known."""
    particles: int = 1000
    """Number of particles."""
    points: int = 2000
    """Map points that are looked up per image, at most."""
    start_metres: float = 3.0
    """Standard deviation of the start along each axis."""
    start_degrees: float = 5.0
    """Standard deviation of the start's rotation about each axis."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.map_labels is not None or is_map_folder(self.map), "--map-labels is wanted: --map is no map folder"
        )
        require(len(self.queries) == len(self.odometry) > 0, "--queries and --odometry want a list for each sequence")
        at_least(self, particles=10, points=10, start_metres=0, start_degrees=0)


@dataclass(frozen=True, kw_only=True)
class ScorePosesSettings(Settings):
    """Check a file of poses line by line, and compare the poses with the truth."""

    poses: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="POSES")]
    """Result file, or a folder of them."""
    truth: Path
    """List of true poses, or a folder of lists: ours, Extended CMU's or RobotCar's."""
    queries: Path | None = None
    """Query list, or a folder of lists: only these count; default: every image of the truth."""
    convention: Literal["auto", "translation", "centre", "matrix"] = "auto"
    """What the numbers of the truth are: translation, camera centre, or matrix from the camera to the world."""
    metres_per_unit: float = 1.0
    """Length of the world's unit, for maps without a scale of their own."""
    partial: bool = False
    """Pass over poses of images that the truth does not hold, instead of refusing them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.metres_per_unit > 0, "--metres-per-unit must be above 0")
