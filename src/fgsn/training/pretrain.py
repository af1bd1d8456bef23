"""Supervised training of a base network on labelled images, optionally with correspondences; read top to bottom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from fgsn.config import PretrainSettings
from fgsn.data.augment import generator, jittered, padded, random_window, scaled
from fgsn.data.images import read_image, skip_bad_image
from fgsn.data.labelled import IGNORE, LabelledSet, Sample, open_labelled
from fgsn.data.pairs import PairSample
from fgsn.data.resize import resized
from fgsn.errors import FgsnError
from fgsn.evaluation.confusion_matrix import confusion_metrics, confusion_of
from fgsn.files import write_json
from fgsn.inference.model import Model, load, prepare_device, to_device
from fgsn.models.imagenet import load_imagenet_weights
from fgsn.models.layers import STRIDE
from fgsn.models.normalisation import SIGNED
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.timm_net import timm_backbone, timm_normalisation
from fgsn.progress import Meter
from fgsn.training.batches import first_readable, shuffled, stacked
from fgsn.training.clusters import autocast
from fgsn.training.correspondence_term import AUX_WEIGHT, CorrespondenceTerm
from fgsn.training.run import (
    LOG_EVERY,
    Run,
    choose_operations,
    finite_step,
    loaded,
    note_of,
    set_rate,
    settled,
    sgd,
)
from fgsn.training.stop import stop_requests

Labelled = tuple[LabelledSet, Sample]
SCALES = (0.7, 1.5)
FEATURE_DIM = {"tiny": 128}
AUX_DIM = {"tiny": 64}


def pretrain(settings: PretrainSettings) -> dict[str, Any]:
    """Train a base network; write the run folder and return its metrics.

    Raises:
        FgsnError: a labelled set is missing or incomplete, the sets have different classes, or a data set of
            correspondences is not prepared.
    """
    torch.manual_seed(settings.seed)
    sets = [open_labelled(spec) for spec in settings.data]
    classes = sets[0].classes
    for other in sets[1:]:
        if other.classes != classes:
            raise FgsnError(f"{sets[0].name} and {other.name} have different classes and cannot be trained together")
    training = [(labelled, sample) for labelled in sets for sample in labelled.training]
    validation = [(labelled, sample) for labelled in sets for sample in labelled.validation]
    across = CorrespondenceTerm.of(settings, classes)
    model = _start(settings, classes, [labelled.name for labelled in sets])
    network, settings = model.network, settled(settings, model.device)
    choose_operations(settings.deterministic)
    if settings.freeze_backbone:
        network.freeze_backbone()
    run = Run(settings.out, settings, settings.resume)
    optimiser = sgd(
        network,
        settings.lr,
        settings.weight_decay,
        lambda name: settings.backbone_lr if name.startswith("backbone") else 1.0,
    )

    step, metrics = 0, {}
    if settings.resume and (saved := run.resume(network, optimiser, settings.iterations, {"metrics": dict})):
        step, (metrics,) = saved

    steps = _Steps(training, across, settings, step)
    loader = loaded(steps, settings.workers, model.device)
    stopping = False
    with stop_requests() as stop, Meter("pretrain", settings.iterations, step, unit=" steps") as meter:
        while step < settings.iterations and not stopping:
            network.train()
            torch.manual_seed((settings.seed << 32) + step)  # dropout
            rate = set_rate(optimiser, step, settings.iterations, power=0.9)
            batch = next(loader)
            run.bad_images(step + 1, batch.instead_of)
            statistics = [value.clone() for value in network.buffers()]  # the forward pass updates them
            losses = _losses(model, batch, across, settings, step)
            optimiser.zero_grad()
            losses["loss"].backward()
            finite = finite_step(network, optimiser, losses["loss"])
            if not finite:
                for value, before in zip(network.buffers(), statistics, strict=True):
                    value.copy_(before)
                run.skip(step + 1, losses, batch.files)
            step += 1
            last = step == settings.iterations
            stopping = stop()
            saving = step % settings.save_every == 0 or last or stopping
            if finite and (step % LOG_EVERY == 0 or last):
                run.log({"step": step, **{k: v.item() for k, v in losses.items()}, "lr": settings.lr * rate})
            if validation and (step % settings.validate_every == 0 or last):
                network.eval()
                metrics = segmentation_metrics(model, validation, settings.on_bad_image)
                run.log({"step": step, "validation": {key: metrics[key] for key in ("mean_iou", "pixel_accuracy")}})
            if saving:
                run.save_checkpoint(step, network, optimiser, {"metrics": metrics})
            meter.step(note_of(losses))
    run.close()
    run.require_steps(step)
    network.eval()
    model.save(settings.out / "model.safetensors")
    results = {"model": str(settings.out / "model.safetensors"), "classes": len(classes), "images": len(training)}
    results |= {"pairs": len(across.pairs)} if across else {}
    results |= metrics
    write_json(settings.out / "results.json", results)
    return results


def segmentation_metrics(
    model: Model, samples: Sequence[Labelled], on_bad_image: Literal["skip", "stop"] = "stop"
) -> dict[str, Any]:
    """The metrics of `fgsn.evaluation.confusion_matrix` of a base network on labelled images."""
    classes = model.classes or ()
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for labelled, sample in samples:
        with skip_bad_image(on_bad_image):
            truth = labelled.read_label(sample)
            confusion += confusion_of(truth, model.segment(sample.image), *confusion.shape)
    return confusion_metrics(confusion, classes)


class LabelledBatch(NamedTuple):
    """The data of one step."""

    images: list[np.ndarray]
    """Crops (side, side, 3) of labelled images."""
    labels: Tensor
    """(images, cells, cells) classes at the feature cells, 255 = ignore."""
    pairs: list[PairSample]
    """Pairs of crops from two seasons; empty without --corr-data."""
    files: list[Path]
    """Source files of the batch."""
    instead_of: list[str]
    """One line per unreadable image that was replaced."""


class _Steps(Dataset[LabelledBatch]):
    """The batch of each step: a pure function of (seed, step), so the number of workers does not matter."""

    def __init__(
        self, samples: Sequence[Labelled], across: CorrespondenceTerm | None, settings: PretrainSettings, first: int
    ) -> None:
        self.samples, self.across, self.settings, self.first = samples, across, settings, first

    def __len__(self) -> int:
        return self.settings.iterations - self.first

    def __getitem__(self, index: int) -> LabelledBatch:
        step, settings = self.first + index, self.settings
        images, labels, files, problems = [], [], [], []
        for slot, position in enumerate(shuffled(len(self.samples), step, settings.batch, settings.seed, 1)):
            found = first_readable(
                self.samples,
                position,
                lambda sample, slot=slot: _crop(*sample, settings, generator(settings.seed, 2, step, slot)),
                settings.on_bad_image,
            )
            image, label = found.value
            images.append(image)
            labels.append(torch.from_numpy(label.astype(np.int64)))
            files.append(found.item[1].image)
            problems += found.problems
        pairs = self.across.samples(step) if self.across else []
        files += [pair.file for pair in pairs]
        problems += [problem for pair in pairs for problem in pair.instead_of]
        return LabelledBatch(images, torch.stack(labels), pairs, files, problems)


def _crop(
    labelled: LabelledSet, sample: Sample, settings: PretrainSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Randomly scale, crop, mirror and colour-jitter an image; its labels at the feature cells."""
    image, label = read_image(sample.image, settings.short_side), labelled.read_label(sample)
    image = resized(image, settings.short_side)
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    image = scaled(image, scale)
    label = scaled(label, image.shape[0] / label.shape[0], nearest=True)[: image.shape[0], : image.shape[1]]
    image, label = padded(image, settings.crop, 127), padded(label, max(settings.crop, *image.shape[:2]), IGNORE)
    rows, columns = random_window(image.shape, settings.crop, rng)
    image, label = image[rows, columns], label[rows, columns]
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return jittered(image, settings.colour_jitter, rng), label[::STRIDE, ::STRIDE].copy()


def _losses(
    model: Model, batch: LabelledBatch, across: CorrespondenceTerm | None, settings: PretrainSettings, step: int
) -> dict[str, Tensor]:
    """The loss of one batch and its terms; labelled crops and pairs pass through the network together."""
    crops = batch.images + [pair.reference for pair in batch.pairs] + [pair.target for pair in batch.pairs]
    with autocast(model.device, settings.precision):
        output = model.network(stacked(model, crops))
    labels, count = to_device(batch.labels, model.device), len(batch.images)
    assert output.aux_logits is not None
    main, aux = (
        functional.cross_entropy(maps[:count].float(), labels, ignore_index=IGNORE, reduction="sum")
        for maps in (output.logits, output.aux_logits)
    )
    loss = (main + AUX_WEIGHT * aux) / (labels != IGNORE).sum().clamp(min=1)
    if across is None:
        return {"loss": loss}
    corr = across.loss(output, batch.pairs, count, step)
    return {"loss": loss + across.weight * corr, "loss_labels": loss, "loss_corr": corr}


def _start(settings: PretrainSettings, classes: tuple[str, ...], data: list[str]) -> Model:
    """The model to train, new or from --init, with these classes."""
    device = prepare_device(settings.device)
    if settings.init:
        start = load(settings.init, settings.device)
        network, normalisation = start.network.requires_grad_(True), start.normalisation
        network.freeze_norms()
        if start.classes != classes:
            network.reset_classifiers(len(classes), torch.Generator().manual_seed(settings.seed))
    else:
        network, normalisation = _network(settings, len(classes)), SIGNED
        if settings.backbone.startswith("timm/"):
            normalisation = timm_normalisation(settings.backbone)
    return Model(
        network=network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        normalisation=normalisation,
        short_side=settings.short_side,
        window=settings.crop,
        classes=classes,
        facts={"kind": "base network", "data": data, "iterations": settings.iterations}
        | ({"correspondences": [path.resolve().name for path in settings.corr_data]} if settings.corr_data else {}),
    )


def _network(settings: PretrainSettings, classes: int) -> PSPNet:
    dims = {"feature_dim": FEATURE_DIM.get(settings.backbone, 512), "aux_dim": AUX_DIM.get(settings.backbone, 256)}
    network = PSPNet(Architecture(settings.backbone, classes, **dims))
    if settings.weights == "imagenet":
        if settings.backbone != "lite":
            raise FgsnError("--weights imagenet works with --backbone lite only")
        load_imagenet_weights(network.backbone)
    if settings.weights == "timm":
        if not settings.backbone.startswith("timm/"):
            raise FgsnError("--weights timm works with --backbone timm/NAME only")
        network.backbone = timm_backbone(settings.backbone, pretrained=True)
    return network
