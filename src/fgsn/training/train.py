"""The self-supervised stage, read top to bottom: set up → cluster → label → step → validate → save.

Larsson et al., ICCV 2019; docs/method.md explains how it works and where we differ.
"""

import copy
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from fgsn import ranks
from fgsn.config import TrainSettings
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size, skip_bad_image
from fgsn.data.pair_files import require_inside, sampled
from fgsn.data.pairs import PairSample
from fgsn.data.resize import resized_shape
from fgsn.errors import FgsnError
from fgsn.evaluation.label_metrics import collapse_note
from fgsn.evaluation.measure import HEADLINE, measure
from fgsn.files import atomic_write, write_json
from fgsn.inference.model import Model, load, to_device
from fgsn.models.layers import STRIDE
from fgsn.models.pspnet import DropoutMasks
from fgsn.progress import Meter, say
from fgsn.training.batches import matches_of, pair_samples, stacked
from fgsn.training.clusters import (
    CropLabels,
    ImageLabels,
    LabelSamples,
    autocast,
    cluster_features,
    label_map_names,
    read_label_maps,
)
from fgsn.training.feature_loss import draw_negatives, feature_loss
from fgsn.training.losses import at_cells, cluster_loss, correspondence_loss
from fgsn.training.micro_batches import BatchPlan, negatives_generator, no_sync, slots_of_rank, wrap_for_training
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

FRESH = ("classifier", "aux_classifier")
"""Layers that are reinitialised after every clustering."""
VALIDATION_METRICS = (
    HEADLINE,
    "match_lift_position_controlled",
    "information_bits_position_controlled",
    "information_bits_same_view",
    "kappa",
    "agreement",
    "clusters_used",
)


def train(settings: TrainSettings) -> dict[str, Any]:
    """Train fine-grained labels on prepared data sets; writes the run folder and returns its metrics.

    Raises:
        FgsnError: data or start model are missing or broken, or there are fewer features than clusters.
    """
    with ranks.joined(settings.device):
        return _train(settings)


def _train(settings: TrainSettings) -> dict[str, Any]:
    micro_batches = slots_of_rank(settings)
    sets = [Dataset.open(path) for path in settings.data]
    training = [(data, path) for data in sets for path in data.pairs("train")]
    validation = [(data, path) for data in sets for path in data.pairs("validation")]
    if not training:
        raise FgsnError("the data sets have no training pairs; run fgsn prepare on them")
    require_inside(_readable(sampled(training)))
    model = _start(settings)
    network, settings = model.network, settled(settings, model.device)
    choose_operations(settings.deterministic)
    if settings.freeze_backbone:
        network.freeze_backbone()
    _tell_of_padding(training[0], settings, model)
    run = Run(settings.out, settings, settings.resume)
    optimiser = sgd(
        network,
        settings.lr,
        settings.weight_decay,
        lambda name: 1.0 if name.startswith(FRESH) else settings.backbone_lr,
    )
    step, clustered, best, labels = 0, -1, {}, None
    kinds = {"clustered": int, "best": dict}
    if settings.resume and (saved := run.resume(network, optimiser, settings.iterations, kinds)):
        step, (clustered, best) = saved
        model, labels = _labels_of(run, clustered, model, sets, settings)

    learner = wrap_for_training(network, settings)
    steps = _Steps(training, settings, step, [slot for slots in micro_batches for slot in slots])
    loader = loaded(steps, settings.workers, model.device)
    stopping = False
    with stop_requests() as stop, Meter("train", settings.iterations, step, unit=" steps") as meter:
        while step < settings.iterations and not stopping:
            if _cluster_now(step, clustered, settings):
                with stop.at_once():
                    model, labels = _cluster(model, sets, settings, step, run, optimiser)
                clustered = step
            assert labels is not None
            rate = set_rate(optimiser, step, settings.iterations, settings.power)
            samples = next(loader)
            optimiser.zero_grad()
            losses = train_step(model, learner, labels, samples, settings, step)
            finite = finite_step(network, optimiser, losses["loss"], settings.clip)
            told = ranks.gathered(([(s.file, s.instead_of) for s in samples], stop()))
            origins = [one for some, _ in told for one in some]
            run.bad_images(step + 1, [problem for _, problems in origins for problem in problems])
            if not finite:
                run.skip(step + 1, losses, [file for file, _ in origins])
            step += 1
            last = step == settings.iterations
            stopping = any(stopped for _, stopped in told)
            due = step % settings.validate_every == 0 or last
            saving = step % settings.save_every == 0 or due or stopping
            if finite and (step % LOG_EVERY == 0 or last):
                run.log({"step": step, **{k: v.item() for k, v in losses.items()}, "lr": settings.lr * rate})
            if due and validation:
                metrics = _validate(model, validation, settings)
                run.log({"step": step, "validation": metrics})
                # The headline is comparable across clusterings; losses are not. Sets too sparse for it use kappa.
                score = metrics["kappa"] if metrics[HEADLINE] is None else metrics[HEADLINE]
                if score >= best.get("score", -math.inf):
                    best = {"step": step, "score": score, **metrics}
                    run.save_model(_finished(model, settings, best), "checkpoints/best.safetensors")
            if saving:
                run.save_checkpoint(step, network, optimiser, {"clustered": clustered, "best": best})
            meter.step(note_of(losses))
    run.close()
    if step < settings.iterations:
        raise KeyboardInterrupt("SIGTERM")  # another rank received a signal
    run.require_steps(step)
    path = settings.out / "model.safetensors"
    results = {"model": str(path), "pairs": len(training), "clusters": settings.clusters, "best": best}
    if best and (note := collapse_note(best["clusters_used"], settings.clusters)):
        results["note"] = note
    if ranks.rank() == 0:
        if best:
            with atomic_write(path) as aside:
                shutil.copyfile(settings.out / "checkpoints" / "best.safetensors", aside)
        else:
            say("the data sets have no validation pairs: using the last weights instead of the best")
            _finished(model, settings, {"step": step}).save(path)
        write_json(settings.out / "results.json", results)
    return results


def _start(settings: TrainSettings) -> Model:
    """Load the start model and prepare its network for training."""
    start = load(settings.init, settings.device)
    network = start.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.requires_grad_(True)
    network.freeze_norms()
    network.reset_classifiers(settings.clusters, torch.Generator().manual_seed(settings.seed))
    return replace(
        start,
        network=network,
        short_side=settings.short_side,
        window=settings.crop,
        tiling="aligned",
        classes=None,
        stationary=None,
    )


def _readable(files: Sequence[tuple[Dataset, Path]]) -> Iterator[Correspondences]:
    """The pairs of some correspondence files; broken ones are reported where they are needed."""
    for data, path in files:
        with suppress(FgsnError):
            yield read_correspondences(path, data.images)


def _tell_of_padding(first: tuple[Dataset, Path], settings: TrainSettings, model: Model) -> None:
    """Say so if crops are larger than images: the rest of each crop is padding, which costs time."""
    with suppress(FgsnError):
        width, height = image_size(read_correspondences(first[1], first[0].images).reference)
        seen = resized_shape((height, width), model.short_side)
        if settings.crop > max(seen) + STRIDE and ranks.rank() == 0:
            say(f"fgsn: --crop {settings.crop} is larger than the images ({seen[1]} x {seen[0]}): much is padding")


def _cluster_now(step: int, clustered: int, settings: TrainSettings) -> bool:
    if settings.recluster_every:
        due = step % settings.recluster_every == 0
    else:
        half, others = settings.iterations // 2, max(1, settings.rounds - 1)
        due = step in {half * number // others for number in range(settings.rounds)}
    return clustered < 0 or (due and step != clustered)


def _cluster(
    model: Model, sets: list[Dataset], settings: TrainSettings, step: int, run: Run, optimiser: torch.optim.Optimizer
) -> tuple[Model, LabelSamples]:
    """Cluster the features of the network, label the images by the clusters, and reinitialise the classifiers."""
    model.network.eval()
    codebook, maps = cluster_features(model, sets, settings, step)
    model = replace(model, codebook=codebook)
    run.save_model(model, _codebook(step))
    run.log({"step": step, "clustering": {"objective": codebook.objective[-1], "clusters": codebook.clusters}})
    if settings.labels_from == "image":
        run.save_tensors(label_map_names(maps, sets), _label_maps(step))
        labels: LabelSamples = ImageLabels(maps, model.device)
    else:
        frozen = replace(model, network=copy.deepcopy(model.network).requires_grad_(False).eval())
        labels = CropLabels(frozen, settings.precision, settings.compile)
    network = model.network
    network.reset_classifiers(settings.clusters, torch.Generator().manual_seed(settings.seed + step))
    # The momentum of the old classifiers means nothing to the new ones.
    for name in FRESH:
        for parameter in getattr(network, name).parameters():
            if parameter in optimiser.state:
                optimiser.state[parameter]["momentum_buffer"].zero_()
    return model, labels


def _labels_of(
    run: Run, clustered: int, model: Model, sets: list[Dataset], settings: TrainSettings
) -> tuple[Model, LabelSamples]:
    """Load the codebook and the labels of a resumed run."""
    frozen = load(run.folder / _codebook(clustered), settings.device)
    model = replace(model, codebook=frozen.codebook)
    if settings.labels_from == "image":
        return model, ImageLabels(read_label_maps(run.folder / _label_maps(clustered), sets), model.device)
    frozen.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, CropLabels(frozen, settings.precision, settings.compile)


def _codebook(step: int) -> str:
    return f"codebooks/step{step:07d}.safetensors"


def _label_maps(step: int) -> str:
    return f"codebooks/step{step:07d}-labels.safetensors"


def train_step(
    model: Model,
    learner: nn.Module,
    label: LabelSamples,
    samples: Sequence[PairSample],
    settings: TrainSettings,
    step: int,
) -> dict[str, Tensor]:
    """Accumulate the gradient of one batch of pairs, of which this rank has `samples`; returns the losses of the batch.

    Up to rounding, the gradient does not depend on the number of micro-batches and ranks.
    """
    model.network.train()
    micro_batches = slots_of_rank(settings)
    plan = BatchPlan.drawn(settings, step)
    plan.count(samples, [slot for slots in micro_batches for slot in slots], model.device)
    masks = model.network.draw_dropout_masks(plan.crops, torch.Generator().manual_seed((settings.seed << 32) + step))
    total: dict[str, Tensor] = {}
    for number, slots in enumerate(micro_batches):
        some = samples[number * len(slots) : (number + 1) * len(slots)]
        with no_sync(learner, number + 1 < len(micro_batches)):
            losses = _losses(model, learner, label, some, settings, step, plan, slots, masks)
            (losses["loss"] * ranks.world()).backward()  # gradients of ranks are averaged
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + value.detach()
    ranks.add(*total.values())
    return total


def _losses(
    model: Model,
    learner: nn.Module,
    label: LabelSamples,
    samples: Sequence[PairSample],
    settings: TrainSettings,
    step: int,
    plan: BatchPlan,
    slots: range,
    masks: DropoutMasks,
) -> dict[str, Tensor]:
    """The share of a micro-batch in the losses of its batch; only images with a gradient pass through the network."""
    slots_ref, slots_tgt = ([slot for slot in slots if slot in some] for some in (plan.reference, plan.target))
    rows_ref, rows_tgt = ([slot - slots.start for slot in some] for some in (slots_ref, slots_tgt))
    sizes = [len(rows_ref), len(rows_tgt)]
    labels = label(samples)
    matches = matches_of(samples, model.device)
    match_labels = at_cells(labels, matches.pair, matches.reference)
    crops = [samples[n].reference for n in rows_ref] + [samples[n].target for n in rows_tgt]
    batch_rows = plan.rows(slots_ref, slots_tgt)
    with autocast(model.device, settings.precision):
        output = learner(
            stacked(model, crops), DropoutMasks(*(to_device(mask[batch_rows], model.device) for mask in masks))
        )
    class_term = corr_term = torch.zeros((), device=model.device)
    inside = _inside([samples[n] for n in rows_ref], labels.shape[1:], model.device)
    for logits, weight in ((output.logits, 1.0), (output.aux_logits, settings.aux_weight)):
        logits_ref, logits_tgt = logits.split(sizes)
        if rows_ref:
            class_term = class_term + weight * cluster_loss(logits_ref, labels[rows_ref], inside, plan.cells_inside)
        for of_side, rows, cells, pairs_with_matches in (
            (logits_ref, rows_ref, matches.reference, plan.matched_in_reference),
            (logits_tgt, rows_tgt, matches.target, plan.matched_in_target),
        ):
            if rows:
                here = matches.among(rows)
                term = correspondence_loss(
                    of_side, cells[here], matches.of(rows), match_labels[here], pairs_with_matches
                )
                corr_term = corr_term + weight * term
    losses = {
        "loss": settings.class_weight * class_term + settings.corr_weight * corr_term,
        "loss_class": class_term,
        "loss_corr": corr_term,
    }
    if settings.feature_weight > 0:
        generators = [negatives_generator(settings.seed, step, slot) for slot in slots]
        features_ref, features_tgt = output.features.split(sizes)
        negatives = draw_negatives(matches, settings.feature_negatives, STRIDE, features_tgt.shape[2:], generators)
        losses["loss_feature"] = feature_loss(
            settings.feature_loss, features_ref, features_tgt, matches, negatives, plan.matched_in_reference
        )
        losses["loss"] = losses["loss"] + settings.feature_weight * losses["loss_feature"]
    return losses


def _inside(samples: Sequence[PairSample], size: torch.Size, device: torch.device) -> Tensor:
    inside = torch.zeros(len(samples), *size, dtype=torch.bool)
    for mask, sample in zip(inside, samples, strict=True):
        mask[: sample.inside[0], : sample.inside[1]] = True
    return to_device(inside, device)


def _validate(model: Model, pairs: Sequence[tuple[Dataset, Path]], settings: TrainSettings) -> dict[str, float]:
    """Metrics on (at most `validation_pairs`, always the same) validation pairs."""
    every = max(1, -(-len(pairs) // settings.validation_pairs))
    model.network.eval()
    read = {}
    for data, path in pairs[::every]:
        with skip_bad_image(settings.on_bad_image):
            read[path] = data, read_correspondences(path, data.images)
    places = {pair.reference: f"{data.root} {data.place(pair.reference)}" for data, pair in read.values()}

    def labels(image: Path) -> np.ndarray:
        with skip_bad_image(settings.on_bad_image):
            return model.segment(image)
        return np.zeros((0, 0), np.int64)  # no point lies inside

    metrics = measure(labels, [pair for _, pair in read.values()], model.clusters, places.__getitem__)
    return {key: metrics[key] for key in VALIDATION_METRICS}


def _finished(model: Model, settings: TrainSettings, best: dict[str, Any]) -> Model:
    facts = {
        "kind": "fine-grained labels",
        "clusters": settings.clusters,
        "data": [path.resolve().name for path in settings.data],  # names only: a model travels
        "validation": best,
        "start": model.facts,
    }
    return replace(model, facts=facts)


class _Steps(TorchDataset[list[PairSample]]):
    """This rank's pairs of each step: a pure function of (seed, step, slot), independent of the loading process."""

    def __init__(
        self, pairs: Sequence[tuple[Dataset, Path]], settings: TrainSettings, first: int, slots: Sequence[int]
    ) -> None:
        self.pairs, self.settings, self.first, self.slots = pairs, settings, first, slots

    def __len__(self) -> int:
        return self.settings.iterations - self.first

    def __getitem__(self, index: int) -> list[PairSample]:
        step, batch = self.first + index, self.settings.batch
        return pair_samples(self.pairs, self.settings, batch, step, purposes=(1, 2), slots=self.slots)
