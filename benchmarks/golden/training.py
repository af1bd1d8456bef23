"""Cases 10 and 11: rates, groups, fresh classifiers, and a whole run of the authors' code."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.clustering import their_codebook
from golden.data import Golden, differing, gap, relative, row, rows
from golden.images import merged
from golden.losses import cells_of_theirs
from torch import Tensor, nn

from fgsn.clustering.codebook import Codebook
from fgsn.data.correspondences import read_correspondences
from fgsn.data.images import read_image
from fgsn.data.resize import resized
from fgsn.evaluation.stationary import count_pixels
from fgsn.inference.model import Model
from fgsn.inference.published_windows import published_scores, published_starts
from fgsn.models.foreign import their_name
from fgsn.models.normalisation import CAFFE
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.training.losses import MatchedCells, at_cells, cluster_loss, correspondence_loss
from fgsn.training.run import set_rate, sgd

SIDE, CELLS = 713, 90


@rows({"1": ("schedule_default", 1.0), "0.9": ("schedule_pow09", 0.9)}, "10", "rates, power {}", 1e-12)
def rates(golden: Golden, name: str, power: float) -> float:
    stored = golden["10_optim_schedule_misc.json"][name]
    optimiser = sgd(nn.Linear(2, 2), 2.5e-5, 1e-4, lambda name: 1.0)
    errors = []
    for step, biases, others in stored["rows"] if isinstance(stored, dict) else stored:
        set_rate(optimiser, step, 60_000, power)
        weight, bias = (group["lr"] for group in optimiser.param_groups)
        errors.append(gap([bias, weight], [biases, others]))
    return max(errors)


@rows({"dilated": (False, "resnet101"), "plain": (True, "resnet101-plain")}, "10", "groups of parameters, {}", 0)
def groups(golden: Golden, original: bool, backbone: str) -> float:
    stored = golden["10_optim_schedule_misc.json"][f"counts_use_original_base={original}"]
    with torch.device("meta"):
        network = PSPNet(Architecture(backbone, 100))
    found: dict[Any, list[Tensor]] = {}
    for group in sgd(network, 2.5e-5, 1e-4, lambda name: 1.0).param_groups:
        found.setdefault((group["lr"], group["weight_decay"]), []).extend(group["params"])
    biases, others = found[5e-5, 0.0], found[2.5e-5, 1e-4]
    ours = [len(biases), sum(p.numel() for p in biases), len(others), sum(p.numel() for p in others)]
    ours.append(sum(p.ndim == 1 for p in others))
    names = ("group0_tensors", "group0_elements", "group1_tensors", "group1_elements", "bn_weights_in_group1")
    return gap(ours, [stored[name] for name in names])


@row("10", "fresh classifiers of seed 0", 1e-12)
def fresh_classifiers(golden: Golden) -> float:
    stored = golden["10_optim_schedule_misc.json"]["reinit_last_layers"]
    network = PSPNet(Architecture("resnet-mini", 100))
    network.reset_classifiers(100, torch.Generator().manual_seed(0))
    errors = [0.0 if network.classifier.bias.count_nonzero() == 0 else np.inf]
    for layer, name in ((network.classifier, "conv6"), (network.aux_classifier, "conv6_1")):
        weight = layer.weight.detach().flatten()
        errors.append(gap(weight[:5], stored[f"{name}_weight_first5"]))
        errors.append(relative(weight.std(), stored[f"{name}_std"]))
    return max(errors)


@cache
def start(golden: Golden, classes: int) -> PSPNet:
    network = golden.network("resnet-mini", classes)
    network.backbone.layer1.conv1.conv.weight.div_(64)
    return network


def image(golden: Golden, number: str) -> Path:
    (path,) = (golden.root / "tiny_corr/CMU/images").rglob(f"*img_{number}*")
    return path


@cache
def segmenter(golden: Golden) -> Model:
    network = start(golden, 5)
    network.classifier.bias.copy_(torch.from_numpy(golden["11_segmentation.npz"]["conv6_bias_used"]))
    return Model(network, CAFFE, 1024, SIDE, windows="published")


PHOTOGRAPHS = {"a": ("a", "00011"), "b": ("b", "00014")}


@cache
def segmented(golden: Golden, number: str) -> tuple[np.ndarray, np.ndarray]:
    """Label map of an image, and its scores before they are taken to its size."""
    model, pixels = segmenter(golden), read_image(image(golden, number))
    scores = published_scores(lambda tiles: model.network(tiles).logits, model.prepared(pixels), SIDE, 4)
    return model.segment(pixels), torch.cat(list(scores), dim=1)[:, ::32, ::32].numpy()


@rows(PHOTOGRAPHS, "11", "label map of image {}, share that differs", 0.01)
def label_map(golden: Golden, case: str, number: str) -> float:
    return differing(segmented(golden, number)[0], golden["11_segmentation.npz"][f"{case}_labels"])


@rows(PHOTOGRAPHS, "11", "label map of image {} where the margin is > 0.01, share that differs", 0)
def label_map_where_clear(golden: Golden, case: str, number: str) -> float:
    stored = golden["11_segmentation.npz"]
    clear = stored[f"{case}_margin"] > 0.01
    return differing(segmented(golden, number)[0][clear], stored[f"{case}_labels"][clear])


@rows(PHOTOGRAPHS, "11", "scores of image {}", 0.01)
def scores(golden: Golden, case: str, number: str) -> float:
    return gap(segmented(golden, number)[1], golden["11_segmentation.npz"][f"{case}_logits_32nd"])


@row("11", "pixels with and without correspondence per label, share of them that differs", 0.01)
def stationary(golden: Golden) -> float:
    root, stored = golden.root / "tiny_corr/CMU", golden["11_segmentation.npz"]
    name = golden["11_train_trace.json"]["setup_outputs"]["corr_val"][0]
    pair = read_correspondences(root / "correspondence_data" / name, root / "images")
    pixels, carrying = count_pixels(segmenter(golden).segment, [pair], 5)
    found = np.concatenate([carrying, pixels - carrying])
    theirs = np.concatenate([stored["nonstat_hist_corr"], stored["nonstat_hist_noncorr"]])
    return np.abs(found - theirs).sum() / theirs.sum()


@cache
def trace(golden: Golden) -> tuple[dict[str, Any], Any]:
    """Facts and arrays of the recorded run."""
    return golden["11_train_trace.json"], golden["11_train_trace.npz"]


def codebook_of_the_run(golden: Golden) -> Codebook:
    stored = trace(golden)[1]
    return their_codebook(stored["r0_pca_A"], stored["r0_pca_b"], stored["r0_centroids"])


@row("11", "features of the reference images at their places, over their deviation of 0.25", 8e-3)
@torch.no_grad()
def reference_features(golden: Golden) -> float:
    facts, stored = trace(golden)
    network, errors = start(golden, 19), []
    for number, name in enumerate(facts["setup_outputs"]["reference_list"]):
        image = CAFFE(resized(read_image(golden.root / "tiny_corr/CMU/images" / name), 1024))
        size = (image.shape[1], image.shape[2])
        corners = [(y, x) for y in published_starts(size[0], SIDE) for x in published_starts(size[1], SIDE)]
        windows = [network(image[None, :, y : y + SIDE, x : x + SIDE]).features[0].numpy() for y, x in corners]
        features = merged(np.stack(windows), size, SIDE)
        first = stored["r0_counts"][:number].sum()
        at, x, y = stored["r0_coords"][first : first + stored["r0_counts"][number]].T
        errors.append(gap(features[:, y, x].T, stored["r0_features"][at]) / 0.25)
    return max(errors)


@row("11", "labels of their features with their codebook, share that differs", 0.02)
def labels_of_features(golden: Golden) -> float:
    stored = trace(golden)[1]
    return differing(codebook_of_the_run(golden).assign(stored["r0_features"]), stored["r0_assign"])


@row("11", "objective of our codebook of their features over the worst of their 3", 1.01)
def objective(golden: Golden) -> float:
    facts, stored = trace(golden)
    ours = [Codebook.fit(stored["r0_features"], 5, seed).objective[-1] for seed in range(5)]
    return max(ours) / max(clustering["kmeans_objective"] for clustering in facts["rounds"])


def window(golden: Golden, sample: dict[str, Any]) -> tuple[list[Tensor], list[np.ndarray]]:
    """Their crop of both images, normalised, and the points in it: scaled as x · f, around point `crop_index`."""
    root, crops, points = golden.root / "tiny_corr/CMU", [], []
    pair = read_correspondences(root / "correspondence_data" / sample["file"], root / "images")
    for image, given in ((pair.reference, pair.points_ref), (pair.target, pair.points_tgt)):
        original = read_image(image)
        seen = resized(original, 1024)
        scaled = given * (np.array(seen.shape[1::-1]) / original.shape[1::-1])
        middle = np.floor(scaled[sample["crop_index"]] + 0.5) - (SIDE + 1) // 2
        left, top = np.clip(middle, 0, np.array(seen.shape[1::-1]) - SIDE).astype(int)
        crops.append(CAFFE(seen[top : top + SIDE, left : left + SIDE]))
        points.append(scaled - (left, top))
    inside = np.all([((p >= 0) & (p < SIDE)).all(axis=1) for p in points], axis=0)
    return crops, [np.trunc(p[inside] + 0.5).T for p in points]


@cache
def replay(golden: Golden) -> dict[str, float]:
    """Four steps on their samples with our mathematics: the largest error of everything that they recorded."""
    facts, stored = trace(golden)
    codebook, network = codebook_of_the_run(golden), copy.deepcopy(start(golden, 19))
    frozen = copy.deepcopy(network)
    network.requires_grad_(True).reset_classifiers(5, torch.Generator())
    for layer, name in ((network.classifier, "conv6"), (network.aux_classifier, "conv6_1")):
        layer.weight.data.copy_(torch.from_numpy(stored[f"r0_{name}_weight"])[:, :, None, None])
    before = {their_name(name): value.detach().clone() for name, value in network.named_parameters()}
    network.train()
    optimiser = sgd(network, 2.5e-5, 1e-4, lambda name: 1.0)
    set_rate(optimiser, 0, 8, 1.0)
    errors: dict[str, list[float]] = {what: [] for what in REPLAYED}
    for number, sample in enumerate(facts["samples"]):
        if sample["kind"] != "train" or sample["iteration"] >= 4:
            continue
        crops, points = window(golden, sample)
        errors["points"] += [gap(p, stored[f"s{number:02d}_pts_{end}"]) for p, end in zip(points, ENDS, strict=True)]
        errors["inputs"] += [relative(c.double().sum(), sample[f"img_{end}_sum"])
                             for c, end in zip(crops, ENDS, strict=True)]  # fmt: skip
        cells = [cells_of_theirs(p, SIDE, CELLS) for p in points]
        kept = np.all([((c >= 0) & (c < CELLS)).all(axis=1) for c in cells], axis=0)
        pair = torch.zeros(int(kept.sum()), dtype=torch.int64)
        matches = MatchedCells(pair, *(torch.from_numpy(c[kept]) for c in cells), torch.ones(len(pair)))
        with torch.no_grad():
            labels = codebook.assign_map(frozen(crops[0][None]).features)
        wanted = at_cells(labels, pair, matches.reference)
        errors["labels"].append(differing(wanted, stored[f"s{number:02d}_labels"]))
        if sample["use_reference"]:
            errors["labels"].append(differing(labels[0], stored[f"s{number:02d}_cluster_image"]))
        total = torch.zeros(())
        corr = {"main": 0.0, "aux": 0.0}
        for end, crop, at in zip(ENDS, crops, (matches.reference, matches.target), strict=True):
            learnt = (end == "ref") == sample["use_reference"]
            with torch.set_grad_enabled(learnt):
                output = network(crop[None])
            for head, logits, weight in (("main", output.logits, 1.0), ("aux", output.aux_logits, 0.4)):
                loss = correspondence_loss(logits, at, matches, wanted)
                corr[head] += loss.item()
                if learnt and end == "ref":
                    seg = cluster_loss(logits, labels, torch.ones_like(labels, dtype=torch.bool))
                    errors["losses"].append(relative(seg.item(), sample[f"seg_{head}"]))
                    loss = loss + seg
                total = total + weight * loss
        errors["losses"] += [relative(value, sample[f"corr_{head}"]) for head, value in corr.items()]
        errors["losses"].append(relative(total.item(), sample["total"]))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    moved = {their_name(name): value.detach() - before[their_name(name)] for name, value in network.named_parameters()}
    for name, theirs in facts["iter4_param_deltas"].items():
        if theirs["delta_l2"] > 2e-6 * theirs["weight_l2"]:
            errors["weights"].append(relative(moved[name].norm().item(), theirs["delta_l2"]))
    for name in ("conv6", "conv6_1"):
        theirs = stored[f"iter4_{name}_weight"] - stored[f"r0_{name}_weight"]
        ours = moved[f"{name}.weight"][:, :, 0, 0].numpy()
        errors["weights"].append(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return {what: max(found) for what, found in errors.items()}


ENDS = ("ref", "other")
REPLAYED = {
    "points": (0, "points of the samples"),
    "inputs": (2e-3, "sums of the crops, relative"),
    "labels": (0.02, "labels, share that differs"),
    "losses": (2e-3, "losses, relative"),
    "weights": (3e-2, "what became of the weights, relative"),
}
for what, (tolerance, said) in REPLAYED.items():
    row("11", f"four steps replayed: {said}", tolerance, what)(lambda golden, what: replay(golden)[what])
