"""A training step; the baseline does what the published code does: one pair of images at a time, in float32."""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fgsn.bench.measure import alternating, metrics
from fgsn.clustering.codebook import Codebook
from fgsn.config import BenchSettings, TrainSettings
from fgsn.data.augment import generator
from fgsn.data.pairs import PairSample
from fgsn.inference.model import Model, prepare_device
from fgsn.models.layers import cells
from fgsn.models.normalisation import CAFFE
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.training.batches import matches_of, stacked
from fgsn.training.clusters import FINE, CropLabels, ImageLabels, LabelSamples
from fgsn.training.losses import at_cells, cluster_loss, correspondence_loss
from fgsn.training.micro_batches import wrap_for_training
from fgsn.training.run import sgd
from fgsn.training.train import train_step

MATCHES = 300
RATE = 1e-5
"""Learning rate; small, since the images are noise."""


def training(settings: BenchSettings) -> dict[str, Any]:
    """The training step as a subject of `fgsn bench`: ResNet-101 with the crops of the paper, or the small network."""
    backbone, side = ("resnet101", 713) if settings.full else ("lite", 257)
    return training_step(backbone, side, rounds=settings.rounds, device=settings.device, seed=settings.seed)


def training_step(
    backbone: str = "lite",
    side: int = 257,
    batch: int = 2,
    accumulate: int = 1,
    clusters: int = 100,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
    compiled: bool = False,
    ours_only: bool = False,
    rounds: int = 5,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """Seconds per pair of images, for ours and the baseline.

    Args:
        backbone: backbone of the network; the weights are random.
        side: side of the crops in pixels, 8 n + 1.
        batch: pairs per step, in `accumulate` micro-batches per step of ours.
        precision: arithmetic of ours.
        ours_only: skip the baseline, to measure the memory of ours.
        rounds: timed calls of each method.

    Returns:
        A row of `fgsn.bench.measure.metrics`, per pair. The roofline counts one forward pass for the labels, and one
        forward and one backward pass of the image that is learnt from. With a baseline also `processor_ratio`, the
        ratio of processor times.
    """
    settings = TrainSettings(
        data=(Path(),), init=Path(), out=Path(), batch=batch, accumulate=accumulate, crop=side, clusters=clusters,
        precision=precision, compile=compiled, gradient="coin", lr=RATE, seed=seed, device=device,
    )  # fmt: skip
    model = _model(settings, backbone)
    samples = [_sample(side, generator(seed, slot)) for slot in range(batch)]
    maps = {Path(): torch.randint(0, clusters, (side // FINE + 1, side // FINE + 1))}
    methods = {"ours": _ours(model, samples, settings, ImageLabels(maps, model.device))}
    if not ours_only:
        frozen = replace(model, network=copy.deepcopy(model.network).requires_grad_(False).eval())
        frozen.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        labels = CropLabels(frozen, settings.precision, settings.compile)
        methods["crop_labels"] = _ours(model, samples, settings, labels)
        methods["baseline"] = _baseline(model, samples, settings)
    timed = alternating(methods, rounds, model.device)
    shapes = (
        f"{batch} pairs of crops of {side} in {accumulate} micro-batches, {backbone}, {clusters} labels, {precision}"
    )
    operations = _operations(model.network.architecture, side)
    row = metrics(timed, shapes, model.device, getattr(torch, precision), operations, units=batch)
    if not ours_only:
        row["processor_ratio"] = median(timed["baseline"].processor) / median(timed["ours"].processor)
    return row


def _model(settings: TrainSettings, backbone: str) -> Model:
    """A cluster model with random weights, frozen batch norms and a codebook of random directions."""
    torch.manual_seed(settings.seed)
    architecture = Architecture(backbone, settings.clusters)
    network = PSPNet(architecture).to(prepare_device(settings.device))
    network.freeze_norms()
    model = Model(network, CAFFE, short_side=0, window=settings.crop)
    features = torch.randn(4 * settings.clusters + 1000, architecture.feature_dim, device=model.device)
    return replace(model, codebook=Codebook.fit(features, settings.clusters, settings.seed, iterations=1))


def _sample(side: int, random: np.random.Generator) -> PairSample:
    reference, target = (random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(2))
    at = [random.integers(0, cells(side), (MATCHES, 2)) for _ in range(2)]
    inside = cells(side), cells(side)
    return PairSample(
        clean=reference, reference=reference, target=target, inside=inside, cells_ref=at[0], cells_tgt=at[1],
        weights=np.ones(MATCHES), image=Path(), corner=(0.0, 0.0), zoom=1.0, file=Path(),
    )  # fmt: skip


def _learner(model: Model, settings: TrainSettings) -> tuple[Model, torch.optim.Optimizer]:
    """A copy of the model to train, and its optimiser."""
    model = replace(model, network=copy.deepcopy(model.network))
    return model, sgd(model.network, settings.lr, settings.weight_decay, lambda name: 1.0)


def _ours(model: Model, samples: list[PairSample], settings: TrainSettings, labels: LabelSamples) -> Callable[[], None]:
    """A training step of `fgsn train`."""
    model, optimiser = _learner(model, settings)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network, steps = wrap_for_training(model.network, settings), count()

    def step() -> None:
        optimiser.zero_grad()
        train_step(model, network, labels, samples, settings, next(steps))
        optimiser.step()

    return step


def _baseline(model: Model, samples: list[PairSample], settings: TrainSettings) -> Callable[[], None]:
    """One step per pair: labels, a forward pass of one image for the log, then forward and backward of the other."""
    frozen = copy.deepcopy(model.network).requires_grad_(False).eval()
    model, optimiser = _learner(model, settings)
    network, codebook, steps = model.network, model.codebook, count()
    assert codebook is not None

    def loss_of(side: str, sample: PairSample, labels: torch.Tensor) -> torch.Tensor:
        output = network(stacked(model, [getattr(sample, side)]).contiguous())
        matches = matches_of([sample], model.device)
        cluster_ids = at_cells(labels, matches.pair, matches.reference)
        loss = torch.zeros((), device=model.device)
        for maps, weight in ((output.logits, 1.0), (output.aux_logits, settings.aux_weight)):
            loss = loss + weight * correspondence_loss(maps, getattr(matches, side), matches, cluster_ids)
            if side == "reference":
                loss = loss + weight * cluster_loss(maps, labels, torch.ones_like(labels, dtype=torch.bool))
        return loss

    def step() -> None:
        turn = next(steps)
        network.train()
        for slot, sample in enumerate(samples):
            with torch.no_grad():
                features = frozen(stacked(model, [sample.clean]).contiguous()).features
                labels = codebook.assign_map(features)
            learnt, logged = ("reference", "target")[
                :: 1 if generator(settings.seed, 4, turn, slot).random() < 0.5 else -1
            ]
            with torch.no_grad():
                loss_of(logged, sample, labels)
            optimiser.zero_grad()
            loss_of(learnt, sample, labels).backward()
            optimiser.step()

    return step


def _operations(architecture: Architecture, side: int) -> int:
    """Floating-point operations of one pair: a forward pass, and a forward and a backward pass."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = PSPNet(architecture).eval()
        network.freeze_norms()
        with torch.no_grad():
            network(torch.empty(1, 3, side, side))
        output = network.train()(torch.empty(1, 3, side, side))
        (output.logits.sum() + output.aux_logits.sum()).backward()
    return counter.get_total_flops()
