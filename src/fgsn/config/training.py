"""Settings of the commands that make models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fgsn.config.base import OnBadImage, Positional, Settings, at_least, check_window, require


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """Settings that both training loops share."""

    weight_decay: float = 1e-4
    """Weight decay of all parameters except biases."""
    freeze_backbone: bool = False
    """Keep the backbone fixed and train only the head."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass; weights stay in float32. auto: bfloat16 on a GPU that has it, float32 on a CPU."""
    validate_every: int = 500
    """Steps between validations."""
    save_every: int = 250
    """Steps between checkpoints for --resume."""
    workers: int | None = None
    """Processes that load images; default: up to 6 for each GPU, none on a CPU; the results do not depend on it."""
    on_bad_image: OnBadImage = "skip"
    """If an image or pair cannot be read: skip it, record it and use the next one, or stop."""
    deterministic: bool = False
    """On a GPU, repeat bit for bit where torch has operations that do, and warn of the others; slower."""
    resume: bool = False
    """Continue from the last checkpoint of the run."""


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(TrainingSettings):
    """Train a base network on labelled images (supervised), optionally also on correspondences across seasons."""

    data: tuple[str, ...]
    """Data sets as FORMAT:PATH: camvid, cityscapes, segmented, vistas, vistas-cityscapes, vistas-lanes, world."""
    out: Path
    """Run folder to write."""
    backbone: str = "lite"
    """Backbone: tiny, lite (like EfficientNet-Lite0), resnet50, resnet101, or timm/NAME for any timm network."""
    weights: Literal["none", "imagenet", "timm"] = "none"
    """Initial weights: random, ImageNet weights of the installed package (lite), or timm's (timm/…, downloaded)."""
    init: Path | None = None
    """Model to start from instead of --backbone; batch norms stay fixed, and other classes get a new classifier."""
    corr_data: tuple[Path, ...] = ()
    """Prepared data sets (fgsn prepare) with correspondences to train on as well (Larsson et al., CVPR 2019)."""
    corr_loss: Literal["class", "hingeC", "hingeF"] = "class"
    """What the images of a pair should share: the same class, similar class scores, or similar features."""
    corr_weight: float | None = None
    """Weight of the correspondence loss; default, as in the paper: 1 for class and hingeC, 0.1 for hingeF."""
    corr_batch: int = 2
    """Image pairs per step, in addition to the labelled images."""
    corr_ignore: tuple[str, ...] | None = None
    """Classes that the loss `class` ignores; default: known classes that move, such as person and car."""
    iterations: int = 3000
    """Number of optimisation steps."""
    batch: int = 8
    """Labelled images per step."""
    crop: int = 257
    """Side of the square training crops in pixels (8 n + 1)."""
    short_side: int = 360
    """Resize images so that the shorter side has this many pixels; 0: keep the size."""
    lr: float = 0.02
    """Initial learning rate of the head; it decays to 0 polynomially."""
    backbone_lr: float = 0.25
    """Learning rate of the backbone relative to that of the head."""
    colour_jitter: float = 0.5
    """Strength of the random brightness, contrast, saturation and hue changes of each crop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data requires at least one FORMAT:PATH")
        # Batch norm cannot learn from the one value of the pyramid's largest bin; those of --init stay as they are.
        at_least(self, batch=1 if self.init else 2, corr_batch=1, colour_jitter=0)
        require(
            self.corr_weight is None or self.corr_weight > 0, f"--corr-weight must be above 0, not {self.corr_weight}"
        )
        require(
            not (self.init and self.weights != "none"), "--init and --weights are alternatives: give only one of them"
        )
        _check_training(self)

    def inputs(self) -> Iterator[tuple[str, Path]]:
        """Those of all settings, and the PATH of every FORMAT:PATH."""
        yield from super().inputs()
        yield from (("data", Path(path)) for _, colon, path in (one.partition(":") for one in self.data) if colon)


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """Convert weights to a model: the authors' PSPNet, an ImageNet ResNet, or the base network that comes with fgsn."""

    checkpoint: Annotated[str, Positional("CHECKPOINT")]
    """A .pth or .safetensors file, world:tiny or world:labels (come with fgsn), imagenet:lite, or timm/NAME."""
    out: Path
    """Model file to write."""
    codebook: Path | None = None
    """The authors' centroids_N.h5 that belongs to their network."""
    classes: Path | None = None
    """Text file with one class name per line; default: Cityscapes' names for 19 classes, Vistas' for 66."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.out.suffix == ".safetensors", f"--out is a model file, NAME.safetensors, not {self.out}")
        named = self.checkpoint.partition(":")[0] in ("world", "imagenet") or self.checkpoint.startswith("timm/")
        require(
            not named or (self.codebook is None and self.classes is None),
            f"--codebook and --classes are for checkpoints of the authors, not for {self.checkpoint}",
        )

    def inputs(self) -> Iterator[tuple[str, Path]]:
        """Those of all settings, and the checkpoint if it is a file."""
        yield from super().inputs()
        if Path(self.checkpoint).suffix in (".pth", ".safetensors"):
            yield "checkpoint", Path(self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(TrainingSettings):
    """Train fine-grained labels: cluster the network's features, then learn to predict the clusters in every season."""

    data: tuple[Path, ...]
    """Prepared data sets (fgsn prepare); pairs of several sets are mixed."""
    init: Path
    """Model to start from: a base network, another cluster model, or world:labels, which comes with fgsn."""
    out: Path
    """Run folder to write."""
    clusters: int = 100
    """Number of clusters K, which are the labels."""
    iterations: int = 3000
    """Number of optimisation steps."""
    rounds: int = 3
    """Clusterings: one at the start, the others evenly over the first half of the steps; 1: once, as in the paper."""
    recluster_every: int = 0
    """Steps between clusterings, as the paper's other variant has it; 0: --rounds decides."""
    labels_from: Literal["image", "crop"] = "image"
    """Look labels up in maps of whole reference images, or let a frozen network label every crop, as in the paper."""
    scales: tuple[float, ...] = (0.7, 1.0, 1.4)
    """Scales of the views of an image over which its features are averaged before clustering; 1: as in the paper."""
    whitening: Literal["discriminative", "pca"] = "discriminative"
    """Whiten features by what tells scene points at like image positions apart, or by PCA, as in the paper."""
    batch: int = 2
    """Image pairs per step, over all processes."""
    accumulate: int = 1
    """Micro-batches per step in each process: more of them use less memory and give the same gradient."""
    crop: int = 385
    """Side of the square training crops in pixels (8 n + 1)."""
    short_side: int = 0
    """Resize images so that the shorter side has this many pixels; 0: keep the size."""
    zoom: float = 1.0
    """Zoom each crop by a random factor of 2^-zoom to 2^zoom; 0: as in the paper."""
    shift: float = 0.35
    """Shift each crop by up to this share of its side along each axis; 0: as in the paper."""
    gradient: Literal["coin", "both"] = "both"
    """Which image of a pair to learn from: one, by the toss of a coin (as in the paper), or both."""
    corr_weight: float = 1.0
    """Weight of the cross-season loss L_corr; 0: train without it."""
    class_weight: float = 1.0
    """Weight of the dense cluster loss L_class on reference images."""
    feature_weight: float = 0.0
    """Weight of the feature loss; in the paper's experiments 0."""
    feature_loss: Literal["hinge", "l1", "l2", "kl"] = "hinge"
    """How to compare features at correspondences."""
    feature_negatives: int = 1
    """Negatives per correspondence in the feature loss: points whose features should differ."""
    aux_weight: float = 0.4
    """Weight of the losses of the auxiliary head."""
    lr: float = 0.03
    """Initial learning rate; it decays to 0 polynomially."""
    backbone_lr: float = 1.0
    """Learning rate of the pretrained layers relative to that of the new classifiers."""
    power: float = 1.0
    """Power of the polynomial decay of the learning rate."""
    clip: float = 5.0
    """Maximum norm of the gradient, for clipping; 0: no clipping (as in the paper)."""
    colour_jitter: float = 0.4
    """Strength of the random brightness, contrast, saturation and hue changes of each crop; in the paper 0."""
    features_per_image: int = 500
    """Features to sample per reference image for clustering: half at correspondences, half at random cells."""
    pca_dim: int = 48
    """Dimensions to keep after whitening; in the paper 256."""
    kmeans_iterations: int = 20
    """Number of k-means iterations."""
    compile: bool = False
    """Compile the network (torch.compile): takes a minute or two, then steps are faster on a GPU."""
    validation_pairs: int = 200
    """Maximum number of pairs per validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data requires at least one data set")
        at_least(self, clusters=2, recluster_every=0, features_per_image=2, pca_dim=1, kmeans_iterations=1)
        at_least(self, rounds=1, zoom=0, shift=0)
        require(self.zoom <= 3, f"--zoom must be at most 3, not {self.zoom:g}")
        require(self.shift <= 1, f"--shift must be at most 1, not {self.shift:g}")
        require(
            bool(self.scales) and all(0.25 <= scale <= 4 for scale in self.scales),
            "--scales must lie between 0.25 and 4",
        )
        require(self.scales == (1.0,) or self.labels_from == "image", "--labels-from crop requires --scales 1")
        at_least(self, validation_pairs=1, batch=1, accumulate=1, clip=0, feature_negatives=0)
        require(
            self.batch % self.accumulate == 0,
            f"--batch {self.batch} is not a multiple of --accumulate {self.accumulate}",
        )
        require(
            self.clusters <= 65536, f"--clusters must be at most 65536, the limit of label maps, not {self.clusters}"
        )
        weights = (self.corr_weight, self.class_weight, self.feature_weight, self.aux_weight)
        require(min(weights) >= 0, "the weights of the losses must not be negative")
        require(
            self.corr_weight + self.class_weight + self.feature_weight > 0,
            "all losses have weight 0: give at least one of them a weight above 0",
        )
        _check_training(self)


@dataclass(frozen=True, kw_only=True)
class SweepSettings(Settings):
    """Run a list of experiments, each one a training and its evaluation, and write one table."""

    experiments: Annotated[Path, Positional("LIST")]
    """YAML file with the experiments: shared settings (train, evaluate), and a grid, or runs by name."""
    out: Path
    """Folder to write to: one folder per run, results.json, results.csv, results.md. Finished runs are kept."""


def _check_training(settings: PretrainSettings | TrainSettings) -> None:
    at_least(settings, iterations=1, crop=65, short_side=0, validate_every=1, save_every=1, workers=0)
    at_least(settings, backbone_lr=0, weight_decay=0)
    check_window(settings.crop)
    require(settings.lr > 0, f"--lr must be above 0, not {settings.lr}")
