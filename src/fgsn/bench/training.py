"""A training step: ours beside what the published code does for each pair of images, one pair at a time in float32."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fgsn.bench.measure import matmul_rate
from fgsn.clustering.codebook import Codebook
from fgsn.config import BenchSettings, TrainSettings
from fgsn.data.augment import generator
from fgsn.data.pairs import PairSample
from fgsn.inference.model import Model, choose_device
from fgsn.models.layers import cells
from fgsn.models.normalisation import CAFFE
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.training.batches import matches_of, stacked
from fgsn.training.clusters import Labeller
from fgsn.training.losses import at_cells, cluster_loss, correspondence_loss
from fgsn.training.micro_batches import wrap_for_training
from fgsn.training.run import sgd
from fgsn.training.train import train_step

MATCHES = 300
RATE = 1e-5
"""Learning rate; small, since what is learnt from is noise."""


def training(settings: BenchSettings) -> dict[str, Any]:
    """The training step as a subject of `fgsn bench`: ResNet-101 with the crops of the paper, or the small network."""
    backbone, side = ("resnet101", 713) if settings.full else ("lite", 257)
    device = choose_device(settings.device)
    row = training_step(backbone, side, rounds=settings.rounds, device=settings.device, seed=settings.seed)
    floor = row.pop("operations") / matmul_rate(device, torch.bfloat16)
    return row | {"floor_s": floor}


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
    """Seconds per pair of images of both, by turns; the median of the rounds, without the first turn of each.

    Args:
        backbone: of the network; its weights are random.
        side: of the crops in pixels, 8 n + 1.
        batch: pairs per step of ours.
        accumulate: parts that ours computes a batch in.
        clusters: number of labels.
        precision: arithmetic of ours.
        compiled: whether ours is compiled.
        ours_only: leave the plain version out, to see how much memory ours takes.
        rounds: turns that count.
        device: where.
        seed: of everything random.

    Returns:
        `shapes` in words, `ours_s` and `plain_s` per pair, `ratio`, `processor_ratio` (of time on processors, which
        others on the machine disturb less), and `operations`, which a pair needs at least: a pass forward for the
        labels, one forward and one backward. With `ours_only` just the first two and the last.
    """
    settings = TrainSettings(
        data=(Path(),), init=Path(), out=Path(), batch=batch, accumulate=accumulate, crop=side, clusters=clusters,
        precision=precision, compile=compiled, gradient="coin", lr=RATE, seed=seed, device=device,
    )  # fmt: skip
    model = _model(settings, backbone)
    samples = [_sample(side, generator(seed, slot)) for slot in range(batch)]
    methods = {"ours": _ours(model, samples, settings)}
    if not ours_only:
        methods["plain"] = _plain(model, samples, settings)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, method in methods.items():
            began = time.perf_counter(), time.process_time()
            method(turn)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            spent = (time.perf_counter() - began[0]) / batch, (time.process_time() - began[1]) / batch
            seconds[name] += [spent] if turn else []
    wall, busy = ({name: median(turn[kind] for turn in seconds[name]) for name in methods} for kind in (0, 1))
    row = {
        "shapes": f"{batch} pairs of crops of {side} in {accumulate} parts, {backbone}, {clusters} labels, {precision}",
        **{f"{name}_s": value for name, value in wall.items()},
        "operations": _operations(model.network.architecture, side),
    }
    if not ours_only:
        row["ratio"], row["processor_ratio"] = (spent["plain"] / spent["ours"] for spent in (wall, busy))
    return row


def _model(settings: TrainSettings, backbone: str) -> Model:
    """A cluster model with random weights, frozen batch norms and a codebook of random directions."""
    torch.manual_seed(settings.seed)
    architecture = Architecture(backbone, settings.clusters)
    network = PSPNet(architecture).to(choose_device(settings.device))
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
        weights=np.ones(MATCHES), file=Path(),
    )  # fmt: skip


def _learner(model: Model, settings: TrainSettings) -> tuple[Model, torch.optim.Optimizer]:
    """A copy of the model that learns, and its optimiser."""
    model = replace(model, network=copy.deepcopy(model.network))
    return model, sgd(model.network, settings.lr, settings.weight_decay, lambda name: 1.0)


def _ours(model: Model, samples: list[PairSample], settings: TrainSettings) -> Callable[[int], None]:
    """A step as `fgsn train` does it."""
    frozen = replace(model, network=copy.deepcopy(model.network).requires_grad_(False).eval())
    frozen.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labeller = Labeller(frozen, settings.precision, settings.compile)
    model, optimiser = _learner(model, settings)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = wrap_for_training(model.network, settings)

    def step(turn: int) -> None:
        optimiser.zero_grad()
        train_step(model, network, labeller, samples, settings, turn)
        optimiser.step()

    return step


def _plain(model: Model, samples: list[PairSample], settings: TrainSettings) -> Callable[[int], None]:
    """A step for each pair: its labels, the image without gradient for the log, the other one, and the gradient."""
    frozen = copy.deepcopy(model.network).requires_grad_(False).eval()
    model, optimiser = _learner(model, settings)
    network, codebook = model.network, model.codebook
    assert codebook is not None

    def loss_of(side: str, sample: PairSample, labels: torch.Tensor) -> torch.Tensor:
        output = network(stacked(model, [getattr(sample, side)]).contiguous())
        matches = matches_of([sample], model.device)
        wanted = at_cells(labels, matches.pair, matches.reference)
        loss = torch.zeros((), device=model.device)
        for maps, weight in ((output.logits, 1.0), (output.aux_logits, settings.aux_weight)):
            loss = loss + weight * correspondence_loss(maps, getattr(matches, side), matches, wanted)
            if side == "reference":
                loss = loss + weight * cluster_loss(maps, labels, torch.ones_like(labels, dtype=torch.bool))
        return loss

    def step(turn: int) -> None:
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
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = PSPNet(architecture).eval()
        network.freeze_norms()
        with torch.no_grad():
            network(torch.empty(1, 3, side, side))
        output = network.train()(torch.empty(1, 3, side, side))
        (output.logits.sum() + output.aux_logits.sum()).backward()
    return counter.get_total_flops()
