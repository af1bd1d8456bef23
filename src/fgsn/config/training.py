"""Settings of the commands that make models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fgsn.config.base import OnBadImage, Settings, at_least, check_window, require


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(Settings):
    """Train a base network on labelled images (supervised), optionally with correspondences across seasons as well."""

    data: tuple[str, ...]
    """FORMAT:PATH of each set: camvid, cityscapes, segmented, vistas, vistas-cityscapes, vistas-lanes, world."""
    out: Path
    """Run folder to write."""
    backbone: str = "lite"
    """Backbone: tiny, lite (EfficientNet-Lite0 layout), resnet50, resnet101, or timm/NAME for any network of timm."""
    weights: Literal["none", "imagenet", "timm"] = "none"
    """From scratch, from the ImageNet weights of the installed package (lite), or those that timm fetches (timm/…)."""
    freeze_backbone: bool = False
    """Leave the backbone as it is, so that only the head learns."""
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
    on_bad_image: OnBadImage = "skip"
    """An image or pair that cannot be read: skip takes the next in its place and records it, stop ends the run."""
    resume: bool = False
    """Go on from the run's last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data wants at least one FORMAT:PATH")
        # Batch norm cannot learn from the one value of the pyramid's largest bin; those of --init stay as they are.
        at_least(self, batch=1 if self.init else 2, corr_batch=1, colour_jitter=0)
        require(self.corr_weight is None or self.corr_weight > 0, "--corr-weight must be above 0")
        require(not (self.init and self.weights != "none"), "--init and --weights both say where to start; give one")
        _check_training(self)


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """Turn weights into a model: the authors' PSPNet, ResNet of ImageNet, or the base network that comes with fgsn."""

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="", metavar="CHECKPOINT")]
    """Their .pth or .safetensors file; or world:tiny (comes with fgsn), imagenet:lite, timm/NAME (know no classes)."""
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
    """Image pairs per step, those of all processes together."""
    accumulate: int = 1
    """Parts that each process computes its pairs in, one after another: less memory, the same gradient."""
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
    freeze_backbone: bool = False
    """Leave the backbone as it is, so that only the head learns."""
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
    compile: bool = False
    """Compile the network first (torch.compile): a minute or two, then faster steps on a GPU."""
    validate_every: int = 500
    """Steps between validations."""
    save_every: int = 250
    """Steps between checkpoints, from which --resume goes on."""
    validation_pairs: int = 200
    """Validation pairs that are looked at, at most."""
    workers: int = 0
    """Processes that load images beside the training; the run is the same for any number."""
    on_bad_image: OnBadImage = "skip"
    """An image or pair that cannot be read: skip takes the next in its place and records it, stop ends the run."""
    resume: bool = False
    """Go on from the run's last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.data), "--data wants at least one data set")
        at_least(self, clusters=2, recluster_every=0, features_per_image=2, pca_dim=1, kmeans_iterations=1)
        at_least(self, validation_pairs=1, batch=1, accumulate=1, clip=0, feature_negatives=0)
        require(
            self.batch % self.accumulate == 0, f"--batch {self.batch} is no multiple of --accumulate {self.accumulate}"
        )
        require(self.clusters <= 65536, "--clusters must be at most 65536, which is what label maps can hold")
        weights = (self.corr_weight, self.class_weight, self.feature_weight, self.aux_weight)
        require(min(weights) >= 0, "the weights of the losses must not be negative")
        require(self.corr_weight + self.class_weight + self.feature_weight > 0, "all losses have weight 0")
        _check_training(self)


@dataclass(frozen=True, kw_only=True)
class SweepSettings(Settings):
    """Run a list of experiments, each a training and its evaluation, and write one table."""

    experiments: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="LIST")]
    """YAML file with the experiments: what they share (train, evaluate), and a grid or the runs one by one."""
    out: Path
    """Folder to write to: a folder for each run, results.json, results.csv, results.md. Finished runs are kept."""


def _check_training(settings: PretrainSettings | TrainSettings) -> None:
    at_least(settings, iterations=1, crop=65, short_side=0, validate_every=1, save_every=1, workers=0)
    at_least(settings, backbone_lr=0, weight_decay=0)
    check_window(settings.crop)
    require(settings.lr > 0, f"--lr must be above 0, not {settings.lr}")
