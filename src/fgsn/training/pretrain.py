"""Supervised training of a base network on labelled images; read top to bottom."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from fgsn.config import PretrainSettings
from fgsn.data.augment import generator, jittered, padded, random_window, scaled
from fgsn.data.images import read_image
from fgsn.data.labelled import IGNORE, LabelledSet, Sample, open_labelled
from fgsn.data.resize import resized
from fgsn.errors import FgsnError
from fgsn.evaluation.overlap import confusion_of, overlap_figures
from fgsn.files import write_json
from fgsn.inference.model import Model, choose_device
from fgsn.models.imagenet import load_imagenet_weights
from fgsn.models.layers import STRIDE
from fgsn.models.normalisation import SIGNED
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.progress import Meter
from fgsn.training.run import LOG_EVERY, Run, loaded, restore, set_rate, sgd, stop_requests

Labelled = tuple[LabelledSet, Sample]
AUX_WEIGHT = 0.4
SCALES = (0.7, 1.5)
COLOUR_JITTER = 0.5
FEATURE_DIM = {"tiny": 128}
AUX_DIM = {"tiny": 64}


def pretrain(settings: PretrainSettings) -> dict[str, Any]:
    """Train a base network; writes the run folder and returns its figures.

    Raises:
        FgsnError: a labelled set is missing or incomplete, or the sets have different classes.
    """
    torch.manual_seed(settings.seed)
    device = choose_device(settings.device)
    sets = [open_labelled(spec) for spec in settings.data]
    classes = _common_classes(sets)
    training = [(labelled, sample) for labelled in sets for sample in labelled.training]
    validation = [(labelled, sample) for labelled in sets for sample in labelled.validation]
    network = _network(settings, len(classes)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(settings.out, settings, settings.resume)
    optimiser = sgd(
        network,
        settings.lr,
        settings.weight_decay,
        lambda name: settings.backbone_lr if name.startswith("backbone") else 1.0,
    )
    model = Model(
        network=network,
        normalisation=SIGNED,
        short_side=settings.short_side,
        window=settings.crop,
        classes=classes,
        facts={"kind": "base network", "data": [labelled.name for labelled in sets], "iterations": settings.iterations},
    )

    step, figures = 0, {}
    if settings.resume and (saved := run.load_checkpoint()):
        step, tensors, extra = saved
        figures = extra["figures"]
        restore(network, optimiser, tensors)

    steps = _Steps(training, settings, step)
    loader = loaded(steps, settings.workers)
    stopping = False
    with stop_requests() as stop, Meter("pretrain", settings.iterations, step, unit=" steps") as meter:
        while step < settings.iterations and not stopping:
            network.train()
            torch.manual_seed((settings.seed << 32) + step)  # dropout
            images, labels = (part.to(device) for part in next(loader))
            rate = set_rate(optimiser, step, settings.iterations, power=0.9)
            loss = _loss(network, images.contiguous(memory_format=torch.channels_last), labels, settings.precision)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            last = step == settings.iterations
            stopping = stop()
            saving = step % settings.save_every == 0 or last or stopping
            if (step % LOG_EVERY == 0 or saving) and not torch.isfinite(loss):
                raise FgsnError(f"the loss is no longer finite at step {step}: take a smaller --lr")
            if step % LOG_EVERY == 0 or last:
                run.log({"step": step, "loss": loss.item(), "lr": settings.lr * rate})
            if validation and (step % settings.validate_every == 0 or last):
                network.eval()
                figures = segmentation_figures(model, validation)
                run.log({"step": step, "validation": {key: figures[key] for key in ("mean_iou", "pixel_accuracy")}})
            if saving:
                run.save_checkpoint(step, network, optimiser, {"figures": figures})
            meter.step(f"loss {loss.item():.3f}")
    run.close()
    network.eval()
    model.save(settings.out / "model.safetensors")
    results = {"model": str(settings.out / "model.safetensors"), "classes": len(classes), "images": len(training)}
    results |= figures
    write_json(settings.out / "results.json", results)
    return results


def segmentation_figures(model: Model, samples: Sequence[Labelled]) -> dict[str, Any]:
    """The figures of `fgsn.evaluation.overlap` of a base network on labelled images."""
    classes = model.classes or ()
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for labelled, sample in samples:
        truth = labelled.read_label(sample)
        confusion += confusion_of(truth, model.segment(sample.image), *confusion.shape)
    return overlap_figures(confusion, classes)


class _Steps(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The batch of each step, a pure function of (seed, step), so that any number of workers gives the same run."""

    def __init__(self, samples: Sequence[Labelled], settings: PretrainSettings, first: int) -> None:
        self.samples, self.settings, self.first = samples, settings, first

    def __len__(self) -> int:
        return self.settings.iterations - self.first

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        step, batch = self.first + index, self.settings.batch
        images, labels = [], []
        for slot in range(batch):
            epoch, position = divmod(step * batch + slot, len(self.samples))
            order = generator(self.settings.seed, 1, epoch).permutation(len(self.samples))
            rng = generator(self.settings.seed, 2, step, slot)
            image, label = _crop(*self.samples[int(order[position])], self.settings, rng)
            images.append(SIGNED(image))
            labels.append(torch.from_numpy(label.astype(np.int64)))
        return torch.stack(images), torch.stack(labels)


def _crop(
    labelled: LabelledSet, sample: Sample, settings: PretrainSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random window of an image and its labels at the feature cells, randomly scaled, mirrored and tinted."""
    image, label = read_image(sample.image), labelled.read_label(sample)
    image = resized(image, settings.short_side)
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    image = scaled(image, scale)
    label = scaled(label, image.shape[0] / label.shape[0], nearest=True)[: image.shape[0], : image.shape[1]]
    image, label = padded(image, settings.crop, 127), padded(label, max(settings.crop, *image.shape[:2]), IGNORE)
    rows, columns = random_window(image.shape, settings.crop, rng)
    image, label = image[rows, columns], label[rows, columns]
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return jittered(image, COLOUR_JITTER, rng), label[::STRIDE, ::STRIDE].copy()


def _loss(network: PSPNet, images: torch.Tensor, labels: torch.Tensor, precision: str) -> torch.Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = network(images)
    assert output.aux_logits is not None
    main = functional.cross_entropy(output.logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    aux = functional.cross_entropy(output.aux_logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return (main + AUX_WEIGHT * aux) / (labels != IGNORE).sum().clamp(min=1)


def _network(settings: PretrainSettings, classes: int) -> PSPNet:
    dims = {"feature_dim": FEATURE_DIM.get(settings.backbone, 512), "aux_dim": AUX_DIM.get(settings.backbone, 256)}
    network = PSPNet(Architecture(settings.backbone, classes, **dims))
    if settings.weights == "imagenet":
        if settings.backbone != "lite":
            raise FgsnError("--weights imagenet fits the backbone lite only")
        load_imagenet_weights(network.backbone)
    return network


def _common_classes(sets: Sequence[LabelledSet]) -> tuple[str, ...]:
    classes = sets[0].classes
    for other in sets[1:]:
        if other.classes != classes:
            raise FgsnError(f"{sets[0].name} and {other.name} have different classes and cannot be trained together")
    return classes
