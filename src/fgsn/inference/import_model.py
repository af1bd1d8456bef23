"""fgsn import: convert weights trained elsewhere into a model file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fgsn.config import ImportSettings
from fgsn.data.labelled import CITYSCAPES_CLASSES, VISTAS_CLASSES
from fgsn.errors import FgsnError, UsageError
from fgsn.files import read_lines
from fgsn.inference.model import Model, load
from fgsn.inference.packaged import is_packaged
from fgsn.models.imagenet import load_imagenet_weights
from fgsn.models.imported_weights import published_network, read_published_codebook, read_weights, torchvision_backbone
from fgsn.models.normalisation import CAFFE, SIGNED, TORCHVISION
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.timm_net import timm_backbone, timm_normalisation

KNOWN_CLASSES = {19: CITYSCAPES_CLASSES, 66: VISTAS_CLASSES}
START_CLASSES = 2
"""Labels of an untrained classifier; training replaces it."""


def import_model(settings: ImportSettings) -> dict[str, Any]:
    """Convert a checkpoint into a model file; returns a description of it.

    Raises FgsnError if the checkpoint is missing, broken or unsafe, or its network is unknown.
    """
    torch.manual_seed(settings.seed)  # for heads that are not in the checkpoint
    if is_packaged(settings.checkpoint):
        model = load(settings.checkpoint, "cpu")
    elif settings.checkpoint == "imagenet:lite":
        network = PSPNet(Architecture("lite", START_CLASSES))
        load_imagenet_weights(network.backbone)
        model = _untrained(Model(network, SIGNED, 0, 257), "EfficientNet-Lite0, ImageNet")
    elif settings.checkpoint.startswith("timm/"):
        normalisation = timm_normalisation(settings.checkpoint)
        network = PSPNet(Architecture(settings.checkpoint, START_CLASSES))
        network.backbone = timm_backbone(settings.checkpoint, pretrained=True)
        model = _untrained(Model(network, normalisation, 0, 257), settings.checkpoint)
    else:
        model = _from_file(Path(settings.checkpoint), settings)
    model.network.eval().requires_grad_(False)
    model.save(settings.out)
    return {
        "model": str(settings.out),
        "kind": model.facts["kind"],
        "backbone": model.network.architecture.backbone,
        "labels": model.clusters,
        "input": model.normalisation.order,
        "codebook": "none" if model.codebook is None else f"{model.codebook.clusters} centroids",
    }


def _from_file(path: Path, settings: ImportSettings) -> Model:
    weights = read_weights(path)
    if "conv1.weight" in weights and "layer1.0.conv1.weight" in weights:
        if settings.codebook is not None or settings.classes is not None:
            raise UsageError("--codebook and --classes require a PSPNet of the authors, but this is a ResNet")
        network = torchvision_backbone(weights, path, START_CLASSES)
        return _untrained(Model(network, TORCHVISION, 1024, 713), f"{path.name}, ImageNet")
    network = published_network(weights, path)
    model = Model(network, CAFFE, short_side=1024, window=713, tiling="published", facts={"start": path.name})
    if settings.codebook is not None:
        codebook = read_published_codebook(settings.codebook)
        if codebook.clusters != model.clusters or codebook.whitening.mean.shape != (512,):
            raise FgsnError(
                f"{settings.codebook} has {codebook.clusters} clusters of {len(codebook.whitening.mean)} numbers, "
                f"but {path} requires {model.clusters} clusters of 512; they are not from the same run"
            )
        return replace(model, codebook=codebook, facts={"kind": "fine-grained labels", **model.facts})
    names = KNOWN_CLASSES.get(model.clusters)
    if settings.classes is not None:
        names = tuple(read_lines(settings.classes))
        if len(names) != model.clusters:
            raise FgsnError(f"{settings.classes} names {len(names)} classes, but {path} has {model.clusters}")
    kind = "fine-grained labels" if names is None else "base network"
    return replace(model, classes=names, facts={"kind": kind, **model.facts})


def _untrained(model: Model, source: str) -> Model:
    names = tuple(f"untrained {number}" for number in range(START_CLASSES))
    return replace(model, classes=names, facts={"kind": "start of a training: untrained head", "start": source})
