"""The settings of every command: one dataclass per command, one line of help per field.

A field's docstring is its help on the command line and its line in the configuration reference. Ranges are checked
where a settings object is built. `fgsn.cli` turns these classes into flags, YAML keys and back.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from fgsn.errors import UsageError, nearest

Device = Literal["auto", "cpu", "cuda"]
CONDITIONS = ("sun", "autumn", "bare", "snow", "rain", "night")


def require(condition: bool, message: str) -> None:
    """Raise UsageError with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every command takes."""

    seed: int = 0
    """Seed of everything random; the same seed gives the same result."""
    device: Device = "auto"
    """Where to compute: auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, f"--seed must lie between 0 and 2**31 - 1, not {self.seed}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, ready for YAML."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class WorldSettings(Settings):
    """Make the embedded world: a procedural town, driven in several conditions, as a data set."""

    out: Path
    """Folder to write the data set to."""
    places: int = 24
    """Number of places (camera positions along the route)."""
    size: tuple[int, int] = (512, 384)
    """Width and height of the images in pixels, at most 1024 x 768."""
    conditions: tuple[str, ...] = CONDITIONS
    """Conditions beside the reference; 'reference' is always driven."""
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
    """Make a data set with correspondences across conditions from photographs, COLMAP models or depth maps.

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
        _at_least(self, per_condition=1, points=20, workers=0, keypoints=100)
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
        _at_least(self, pairs=1)


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
        _at_least(self, workers=0)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(Settings):
    """Train a base network on labelled images (supervised), optionally with correspondences across seasons as well."""

    data: tuple[str, ...]
    """FORMAT:PATH of each set: camvid, cityscapes, segmented, vistas, vistas-cityscapes, vistas-lanes, world."""
    out: Path
    """Run folder to write."""
    backbone: str = "lite"
    """Backbone: tiny, lite (EfficientNet-Lite0 layout), resnet50 or resnet101."""
    weights: Literal["none", "imagenet"] = "none"
    """Start from scratch, or from the ImageNet weights of the installed package (lite only)."""
    init: Path | None = None
    """Model to start from instead, with its backbone and its batch norms as they are; other classes are learnt anew."""
    corr_data: tuple[Path, ...] = ()
    """Prepared data sets (fgsn prepare) whose correspondences are learnt from too (Larsson et al., CVPR 2019)."""
    corr_loss: Literal["class", "hingeC", "hingeF"] = "class"
    """Both images of a pair should show the same class, alike class scores, or alike features."""
    corr_weight: float | None = None
    """Weight of the correspondence loss; default as in the paper: 1 for class and hingeC, 0.1 for hingeF."""
    corr_batch: int = 2
    """Pairs per step, beside the labelled images."""
    corr_ignore: tuple[str, ...] | None = None
    """Classes that the loss `class` leaves out; default: the known ones that move, such as person and car."""
    iterations: int = 3000
    """Number of optimisation steps."""
    batch: int = 8
    """Labelled images per step."""
    crop: int = 257
    """Side of the square training crops in pixels (8 n + 1)."""
    short_side: int = 360
    """Images are resized so that their shorter side has this many pixels; 0 leaves them."""
    lr: float = 0.02
    """Learning rate of the head at the start; it falls to 0 along a polynomial."""
    backbone_lr: float = 0.25
    """Learning rate of the backbone relative to the head's."""
    weight_decay: float = 1e-4
    """Weight decay of everything but biases."""
    colour_jitter: float = 0.5
    """Strength of random brightness, contrast, saturation and hue changes of each crop."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights and gradients are kept in float32."""
    validate_every: int = 500
    """Steps between validations."""
    save_every: int = 250
    """Steps between checkpoints, from which --resume goes on."""
    workers: int = 0
    """Processes that load images beside the training; the run is the same for any number."""
    resume: bool = False
    """Go on from the run's last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data wants at least one FORMAT:PATH")
        # Batch norm cannot learn from the one value of the pyramid's largest bin; those of --init stay as they are.
        _at_least(self, batch=1 if self.init else 2, corr_batch=1, colour_jitter=0)
        require(self.corr_weight is None or self.corr_weight > 0, "--corr-weight must be above 0")
        require(not (self.init and self.weights != "none"), "--init and --weights both say where to start; give one")
        _check_training(self)


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """Turn weights that others trained into a model: the authors' PSPNet, or torchvision's ResNet of ImageNet."""

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="", metavar="CHECKPOINT")]
    """Their .pth or .safetensors file, or imagenet:lite for the ImageNet weights of the installed package."""
    out: Path
    """Model file to write."""
    codebook: Path | None = None
    """The authors' centroids_N.h5 that goes with a network of theirs."""
    classes: Path | None = None
    """Text file with the names of the classes, one per line; default: Cityscapes' for 19, Vistas' for 66."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """Train fine-grained labels: cluster the network's features, then learn to see them in every season."""

    data: tuple[Path, ...]
    """Prepared data sets (fgsn prepare); several are mixed pair by pair."""
    init: Path
    """Model to start from: a base network, or another cluster model."""
    out: Path
    """Run folder to write."""
    clusters: int = 100
    """Number of labels, K."""
    iterations: int = 3000
    """Number of optimisation steps."""
    recluster_every: int = 0
    """Steps between clusterings; 0 clusters once, which is as good or better (paper, Table 2)."""
    batch: int = 2
    """Image pairs per step."""
    crop: int = 385
    """Side of the square training crops in pixels (8 n + 1)."""
    short_side: int = 0
    """Images are resized so that their shorter side has this many pixels; 0 leaves them."""
    gradient: Literal["coin", "both"] = "both"
    """Which image of a pair is learnt from: a fair coin decides (the paper), or both."""
    corr_weight: float = 1.0
    """Weight of the cross-season loss L_corr; 0 trains without it."""
    class_weight: float = 1.0
    """Weight of the dense cluster loss L_class on reference images."""
    feature_weight: float = 0.0
    """Weight of the feature loss (0 in the paper's experiments)."""
    feature_loss: Literal["hinge", "l1", "l2", "kl"] = "hinge"
    """How features at correspondences are compared."""
    feature_negatives: int = 1
    """Wrong partners drawn for each correspondence in the feature loss; their features should differ."""
    aux_weight: float = 0.4
    """Weight of the auxiliary head's losses."""
    lr: float = 0.01
    """Learning rate at the start; it falls to 0 along a polynomial."""
    backbone_lr: float = 0.1
    """Learning rate of the pretrained layers relative to the new classifiers'."""
    power: float = 1.0
    """Power of the polynomial by which the learning rate falls."""
    weight_decay: float = 1e-4
    """Weight decay of everything but biases."""
    clip: float = 5.0
    """Longest gradient of a step; longer ones are shortened to it. 0 leaves them (as the paper does)."""
    colour_jitter: float = 0.4
    """Strength of random brightness, contrast, saturation and hue changes of each crop (0 as in the paper)."""
    features_per_image: int = 500
    """Features sampled per reference image for clustering: half at correspondences, half at random cells."""
    pca_dim: int = 256
    """Dimensions kept by the whitening."""
    kmeans_iterations: int = 20
    """Iterations of k-means."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights and gradients are kept in float32."""
    validate_every: int = 500
    """Steps between validations."""
    save_every: int = 250
    """Steps between checkpoints, from which --resume goes on."""
    validation_pairs: int = 200
    """Validation pairs that are looked at, at most."""
    workers: int = 0
    """Processes that load images beside the training; the run is the same for any number."""
    resume: bool = False
    """Go on from the run's last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data wants at least one data set")
        _at_least(self, clusters=2, recluster_every=0, features_per_image=2, pca_dim=1, kmeans_iterations=1)
        _at_least(self, validation_pairs=1, batch=1, clip=0, feature_negatives=0)
        require(self.clusters <= 65536, "--clusters must be at most 65536, which is what label maps can hold")
        weights = (self.corr_weight, self.class_weight, self.feature_weight, self.aux_weight)
        require(min(weights) >= 0, "the weights of the losses must not be negative")
        require(self.corr_weight + self.class_weight + self.feature_weight > 0, "all losses have weight 0")
        _check_training(self)


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
    batch: int = 4
    """Windows computed at once."""
    overwrite: bool = False
    """Make label maps again that exist already."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = set(self.save.split(","))
        unknown = kinds - {"labels", "overlay", "features", "scores"}
        require(not unknown, f"--save knows labels, overlay, features, scores, not {', '.join(sorted(unknown))}")
        _at_least(self, short_side=0, batch=1)
        _check_window(self.window)


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
    threshold: float = 0.01
    """A cluster is stationary when more than this share of its pixels carries a correspondence (paper, section 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.threshold < 1.0, "--threshold must be at least 0 and below 1")


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
class LocalizeSettings(Settings):
    """Find the poses of query images in a map, with labels that survive the seasons or without.

    p3p takes all matches; ssmc drops those whose labels in query and map differ; gsmc draws matches by how well the
    labels around them agree, with rough priors of gravity and camera height.
    """

    map: Path
    """COLMAP model of the reference images."""
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
    priors: tuple[Path, ...] = ()
    """Lists `name gx gy gz height`: direction of gravity in the camera frame and camera height; wanted by gsmc."""
    gravity_noise: float = 1.5
    """Standard deviation of the priors' gravity about each axis in degrees."""
    height_noise: float = 0.3
    """Standard deviation of the priors' height in the unit of the map."""
    hloc: Path | None = None
    """Folder with hloc's features.h5, matches.h5 and pairs.txt; without it, images are matched here."""
    images: Path | None = None
    """Folder of all images, for matching here; names of map and queries are relative to it."""
    matcher: str = "xfeat-lighterglue"
    """What matches images here: xfeat-lighterglue, xfeat (faster), aliked, disk or sift."""
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
    naming: Literal["as is", "cmu", "robotcar"] = "as is"
    """Names in the result file: as in the query lists, or as visuallocalization.net wants them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.queries), "--queries wants at least one list")
        require((self.hloc is None) != (self.images is None), "give --hloc, or --images to match here")
        labels = self.method == "p3p" or (self.map_labels is not None and self.query_labels is not None)
        require(labels, f"--method {self.method} wants --map-labels and --query-labels")
        require(self.method != "gsmc" or bool(self.priors), "--method gsmc wants --priors")
        _at_least(self, keypoints=100, retrieved=1, workers=0, gravity_noise=0, height_noise=0)
        require(self.max_error > 0, "--max-error must be above 0")


@dataclass(frozen=True, kw_only=True)
class TrackSettings(Settings):
    """Track a camera along sequences of images with a particle filter over labels; the map needs no descriptors."""

    map: Path
    """COLMAP model of the reference images."""
    map_labels: Path
    """Label maps of the map's images (fgsn segment --out)."""
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
        require(len(self.queries) == len(self.odometry) > 0, "--queries and --odometry want a list for each sequence")
        _at_least(self, particles=10, points=10, start_metres=0, start_degrees=0)


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


@dataclass(frozen=True, kw_only=True)
class SweepSettings(Settings):
    """Run a list of experiments, each a training and its evaluation, and write one table."""

    experiments: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="LIST")]
    """YAML file with the experiments: what they share (train, evaluate), and a grid or the runs one by one."""
    out: Path
    """Folder to write to: a folder for each run, results.json, results.csv, results.md. Finished runs are kept."""


@dataclass(frozen=True, kw_only=True)
class InfoSettings(Settings):
    """Say what is inside a model file."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="MODEL")]
    """Model file or run folder."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """Run the whole chain on the embedded world and write a page with figures and pictures."""

    out: Path = Path("demo")
    """Folder to write to."""
    quick: bool = False
    """The smallest honest run: fewer places, smaller images, fewer steps."""


def _at_least(settings: Settings, **limits: int) -> None:
    for name, limit in limits.items():
        value = getattr(settings, name)
        flag = f"--{name.replace('_', '-')}"
        require(value is None or value >= limit, f"{flag} must be at least {limit}, not {value}")


def _check_training(settings: PretrainSettings | TrainSettings) -> None:
    _at_least(settings, iterations=1, crop=65, short_side=0, validate_every=1, save_every=1, workers=0)
    _at_least(settings, backbone_lr=0, weight_decay=0)
    _check_window(settings.crop)
    require(settings.lr > 0, f"--lr must be above 0, not {settings.lr}")


def _check_window(side: int) -> None:
    """A window of 8 n + 1 pixels has feature cells exactly on its first and last pixel (METHOD: 713 = 8 · 89 + 1)."""
    require(
        side == 0 or (side % 8 == 1 and side >= 9),
        f"the side of a crop or window must be 8 n + 1 pixels: take {max(9, side // 8 * 8 + 1)} instead of {side}",
    )


def from_plain(settings: type[Settings], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Turn plain values (as YAML holds them) into the types of the fields of `settings`.

    Raises:
        UsageError: an unknown key (names the nearest one) or a value of another type; `source` says where.
    """
    types = get_type_hints(settings)
    typed = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in types:
            raise UsageError(f"{source}: unknown key '{key}'; {nearest(name, types)}")
        try:
            typed[name] = _typed(value, types[name])
        except TypeError as wanted:
            raise UsageError(f"{source}: '{key}' should be {wanted}, not {value!r}") from None
    return typed


def _typed(value: Any, kind: Any) -> Any:
    """`value` as `kind`; raises TypeError with the name of the kind that was wanted."""
    if get_origin(kind) is tuple:
        items = value if isinstance(value, list) else [value]
        kinds = get_args(kind)
        kinds = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(items):
            raise TypeError(f"a list of {len(kinds)}")
        return tuple(_typed(item, kind) for item, kind in zip(items, kinds, strict=True))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise TypeError("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if NoneType in get_args(kind):
        return None if value is None else _typed(value, get_args(kind)[0])
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 takes 1e-4 for a text
        except ValueError:
            raise TypeError("a number") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(
            {Path: "a path", int: "a whole number", float: "a number", str: "a text"}.get(kind, kind.__name__)
        )
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
