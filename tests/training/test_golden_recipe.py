"""The recipe of the authors' training: which parameters learn at what rate, the schedule, and a whole run replayed."""

import copy
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fgsn.clustering.codebook import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.data.correspondences import write_correspondences
from fgsn.data.images import read_image
from fgsn.data.resize import resized
from fgsn.models import backbones
from fgsn.models.normalisation import CAFFE
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet
from fgsn.training.losses import MatchedCells, at_cells, cluster_loss, correspondence_loss
from fgsn.training.run import set_rate, sgd

# Golden 10: step, then the rates of biases and of everything else.
SCHEDULES = {
    1.0: [(0, 5e-5, 2.5e-5), (10000, 4.166666666666667e-05, 2.0833333333333336e-05), (20000, 3.333333333333334e-05,
          1.666666666666667e-05), (30000, 2.5e-05, 1.25e-05), (40000, 1.666666666666667e-05, 8.333333333333335e-06),
          (50000, 8.333333333333332e-06, 4.166666666666666e-06), (60000, 0.0, 0.0)],
    0.9: [(0, 5e-5, 2.5e-5), (2500, 4.8121032730991314e-05, 2.4060516365495657e-05), (10000, 4.243330733945934e-05,
          2.121665366972967e-05), (30000, 2.679433656340733e-05, 1.3397168281703665e-05), (59999,
          2.503997431118966e-09, 1.251998715559483e-09), (60000, 0.0, 0.0)],
}  # fmt: skip


@pytest.mark.parametrize("power", SCHEDULES)
def test_rates_are_theirs_wherever_theirs_are_set(power):
    layer = torch.nn.Linear(2, 2)
    optimiser = sgd(layer, 2.5e-5, 1e-4, lambda name: 1.0)
    weight, bias = optimiser.param_groups
    for step, rate_of_biases, rate in SCHEDULES[power]:
        set_rate(optimiser, step, 60_000, power)
        assert bias["lr"] == pytest.approx(rate_of_biases, rel=1e-12, abs=1e-20)
        assert weight["lr"] == pytest.approx(rate, rel=1e-12, abs=1e-20)


# Golden 10: tensors and numbers that are biases, and all others; how many of those are weights of batch norms.
GROUPS = {
    "resnet101": (114, 55880, 226, 68078656, 112),
    "resnet101-plain": (112, 55688, 222, 67955072, 110),
}


@pytest.mark.parametrize("backbone", GROUPS)
def test_groups_are_theirs(backbone):
    with torch.device("meta"):
        network = PSPNet(Architecture(backbone, 100))
    optimiser = sgd(network, 2.5e-5, 1e-4, lambda name: 1.0)
    assert all(group["momentum"] == 0.9 and group["nesterov"] for group in optimiser.param_groups)
    groups = {(group["lr"], group["weight_decay"]): group["params"] for group in optimiser.param_groups}
    assert len(groups) == len(optimiser.param_groups)
    biases, others = groups.pop((5e-5, 0)), groups.pop((2.5e-5, 1e-4))
    assert not groups
    found = len(biases), sum(p.numel() for p in biases), len(others), sum(p.numel() for p in others)
    assert (*found, sum(p.ndim == 1 for p in others)) == GROUPS[backbone]


ROOT = Path(__file__).parents[2].parent / "shared" / "golden"
THEIRS = {"backbone": "fcn", "head.pooling": "ppm", "head": "final", "aux_classifier": "conv6_1", "classifier": "conv6"}
CELLS, SIDE = 90, 713


def their_name(name):
    ours = next((prefix for prefix in THEIRS if name.startswith(f"{prefix}.")), "")
    name = name.replace(ours, THEIRS[ours], 1) if ours else name
    if name.startswith("ppm.stages"):
        head, number, rest = name.split(".", 2)[0:1] + name.split(".", 3)[2:4]
        return f"{head}.stages.{number}.conv.{rest}"
    return name.replace("final.last", "final.conv5_4").replace("aux.conv.", "aux.conv4_aux.")


@pytest.fixture
def start(golden, monkeypatch):
    """The golden run's start network: one or two blocks a stage, 19 classes, weights by the golden rule."""
    monkeypatch.setitem(backbones._BUILDERS, "mini", lambda: DilatedResNet((1, 1, 2, 1)))
    network = PSPNet(Architecture("mini", 19))
    state = {their_name(name): value for name, value in network.state_dict().items() if "num_batches" not in name}
    ranges = {"running_var": (0.5, 1.5), "running_mean": (-0.2, 0.2), "weight": (0.4, 0.8), "bias": (-0.2, 0.2)}
    for seed, name in enumerate(sorted(state)):
        value = state[name]
        bound = (6 / max(1, value[0].numel())) ** 0.5
        low, high = (-bound, bound) if value.ndim == 4 else ranges[name.rpartition(".")[2]]
        value.copy_(torch.from_numpy(golden(seed, tuple(value.shape), low, high)))
    with torch.no_grad():
        network.backbone.layer1.conv1.conv.weight.div_(64)
    network.dropout.p = 0.0
    network.freeze_norms()
    return network


def window(pair, images, index):
    """Their crop of both images: points are scaled as x · f, the window lies around point `index`."""
    crops, points = [], []
    with h5py.File(pair) as file:
        for side in "ij":
            name = "".join(map(chr, file[f"im_{side}_path"][:, 0]))
            original = read_image(images / name)
            seen = resized(original, 1024)
            scaled = file[f"pt_{side}"][()] * (np.array(seen.shape[1::-1]) / original.shape[1::-1])
            limit = np.array(seen.shape[1::-1]) - SIDE
            left, top = np.clip(np.floor(scaled[index] + 0.5) - (SIDE + 1) // 2, 0, limit).astype(int)
            crops.append(CAFFE(seen[top : top + SIDE, left : left + SIDE]))
            points.append(scaled - (left, top))
    inside = np.all([((p >= 0) & (p < SIDE)).all(axis=1) for p in points], axis=0)
    return crops, [np.trunc(p[inside] + 0.5).astype(int) for p in points]


def their_cells(points):
    """Their cell of a pixel: up to 0.87 cells aside of where it lies."""
    return np.trunc(points / SIDE * CELLS + 0.5).astype(np.int64)


STEP = Path(__file__).with_name("golden_step")


@torch.no_grad()
def test_the_losses_of_a_step_of_theirs(start, tmp_path):
    """Golden 11, sample 1, on two images (samples of scikit-image, CC0 or public domain).

    Ours has the weights of the start and not those after one step at 2.5e-5, which is far below the tolerance.
    """
    stored = np.load(STEP / "numbers.npz")
    points = stored["points_reference"], stored["points_target"]
    write_correspondences(tmp_path / "pair.mat", "reference.jpg", "target.jpg", *points, np.zeros(len(points[0])))
    crops, seen = window(tmp_path / "pair.mat", STEP, int(stored["crop_index"]))
    for crop, found, end, total in zip(crops, seen, ("reference", "target"), stored["sums"], strict=True):
        np.testing.assert_array_equal(found.T, stored[f"seen_{end}"])
        assert crop.double().sum().item() == pytest.approx(total, rel=2e-3)
    cells = [their_cells(p) for p in seen]
    kept = np.all([((c >= 0) & (c < CELLS)).all(axis=1) for c in cells], axis=0)
    pair = torch.zeros(int(kept.sum()), dtype=torch.int64)
    matches = MatchedCells(pair, *(torch.from_numpy(c[kept]) for c in cells), torch.ones(len(pair)))
    labels = torch.from_numpy(stored["map"].astype(np.int64))[None]
    wanted = at_cells(labels, matches.pair, matches.reference)
    np.testing.assert_array_equal(wanted, stored["labels"])

    start.reset_classifiers(5, torch.Generator())
    for layer in ("classifier", "aux_classifier"):
        getattr(start, layer).weight.copy_(torch.from_numpy(stored[layer])[:, :, None, None])
    outputs = [start.train()(crop[None]) for crop in crops]
    total = 0.0
    for head, name, weight in (("main", "logits", 1.0), ("aux", "aux_logits", 0.4)):
        maps = [getattr(output, name) for output in outputs]
        ends = zip(maps, (matches.reference, matches.target), strict=True)
        corr = sum(correspondence_loss(logits, at, matches, wanted).item() for logits, at in ends)
        seg = cluster_loss(maps[0], labels, torch.ones_like(labels, dtype=torch.bool)).item()
        assert corr == pytest.approx(stored[f"corr_{head}"].item(), rel=2e-3)
        assert seg == pytest.approx(stored[f"seg_{head}"].item(), rel=2e-3)
        total += weight * (corr + seg)
    assert total == pytest.approx(stored["total"].item(), rel=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(not ROOT.is_dir(), reason="the golden images are not here")
def test_a_run_of_theirs_replayed(start):
    """Four steps on their samples with our mathematics: labels, losses, and what became of the weights."""
    facts, stored = json.loads((ROOT / "11_train_trace.json").read_text()), np.load(ROOT / "11_train_trace.npz")
    data = ROOT / "tiny_corr" / "CMU"
    projection = torch.from_numpy(stored["r0_pca_A"])
    mean = -torch.linalg.lstsq(projection.T.double(), torch.from_numpy(stored["r0_pca_b"])[:, None].double())[0][:, 0]
    codebook = Codebook(Whitening(mean.float(), projection), torch.from_numpy(stored["r0_centroids"]))
    ids = codebook.assign(stored["r0_features"])
    assert (ids == stored["r0_assign"]).mean() >= 0.98

    network, frozen = start, copy.deepcopy(start).eval()
    network.reset_classifiers(5, torch.Generator())
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(stored["r0_conv6_weight"])[:, :, None, None])
        network.aux_classifier.weight.copy_(torch.from_numpy(stored["r0_conv6_1_weight"])[:, :, None, None])
    before = {their_name(name): value.detach().clone() for name, value in network.named_parameters()}
    network.train()
    optimiser = sgd(network, 2.5e-5, 1e-4, lambda name: 1.0)
    set_rate(optimiser, 0, 8, 1.0)

    steps = [(n, s) for n, s in enumerate(facts["samples"]) if s["kind"] == "train" and s["iteration"] < 4]
    assert [s["iteration"] for _, s in steps] == [0, 1, 2, 3]
    for number, sample in steps:
        crops, points = window(data / "correspondence_data" / sample["file"], data / "images", sample["crop_index"])
        for found, name in zip(points, ("ref", "other"), strict=True):
            np.testing.assert_array_equal(found.T, stored[f"s{number:02d}_pts_{name}"])
        assert crops[0].double().sum().item() == pytest.approx(sample["img_ref_sum"], rel=2e-3)
        cells = [their_cells(p) for p in points]
        kept = np.all([((c >= 0) & (c < CELLS)).all(axis=1) for c in cells], axis=0)
        pair = torch.zeros(int(kept.sum()), dtype=torch.int64)
        matches = MatchedCells(pair, *(torch.from_numpy(c[kept]) for c in cells), torch.ones(len(pair)))
        with torch.no_grad():
            labels = codebook.assign_map(frozen(crops[0][None]).features)
        wanted = at_cells(labels, pair, matches.reference)
        assert (wanted.numpy() == stored[f"s{number:02d}_labels"]).mean() >= 0.98
        if sample["use_reference"]:
            assert (labels[0].numpy() == stored[f"s{number:02d}_cluster_image"]).mean() >= 0.98

        losses = {}
        for name, crop, at in (("ref", crops[0], matches.reference), ("other", crops[1], matches.target)):
            learnt = (name == "ref") == sample["use_reference"]
            with torch.set_grad_enabled(learnt):
                output = network(crop[None])
                for head, logits in (("main", output.logits), ("aux", output.aux_logits)):
                    losses[name, head] = correspondence_loss(logits, at, matches, wanted)
                    if learnt and name == "ref":
                        losses["seg", head] = cluster_loss(logits, labels, torch.ones_like(labels, dtype=torch.bool))
        for head in ("main", "aux"):
            corr = losses["ref", head] + losses["other", head]
            assert corr.item() == pytest.approx(sample[f"corr_{head}"], rel=2e-3)
            if sample["use_reference"]:
                assert losses["seg", head].item() == pytest.approx(sample[f"seg_{head}"], rel=2e-3)
        total = sum(value * (0.4 if head == "aux" else 1.0) for (_, head), value in losses.items())
        assert total.item() == pytest.approx(sample["total"], rel=2e-3)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    after = {their_name(name): value.detach() for name, value in network.named_parameters()}
    compared = 0
    for name, theirs in facts["iter4_param_deltas"].items():
        if theirs["delta_l2"] > 2e-6 * theirs["weight_l2"]:
            ours = (after[name] - before[name]).norm().item()
            assert ours == pytest.approx(theirs["delta_l2"], rel=3e-2), name
            compared += 1
    assert compared >= 5
    for name in ("conv6", "conv6_1"):
        moved = after[f"{name}.weight"][:, :, 0, 0].numpy() - stored[f"r0_{name}_weight"]
        theirs = stored[f"iter4_{name}_weight"] - stored[f"r0_{name}_weight"]
        assert np.linalg.norm(moved - theirs) <= 3e-2 * np.linalg.norm(theirs)
