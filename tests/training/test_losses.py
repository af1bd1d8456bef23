"""The losses: values and gradients of the reference implementation, and the cases in which that one breaks."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fgsn.training.losses import (
    MatchedCells,
    at_cells,
    cluster_loss,
    correspondence_loss,
)

GOLDEN = np.load(Path(__file__).with_name("golden_losses.npz"))


def cells_at(name):
    return torch.from_numpy(GOLDEN[name].astype(np.int64))


def golden_matches(*names):
    pair = torch.cat([torch.full((len(GOLDEN[f"labels_{name}"]),), n) for n, name in enumerate(names)])
    reference, target = (torch.cat([cells_at(f"{side}_{name}") for name in names]) for side in ("reference", "target"))
    return MatchedCells(pair, reference, target, torch.ones(len(pair))), torch.cat(
        [cells_at(f"labels_{name}") for name in names]
    )


@pytest.fixture
def maps(golden):
    """Inputs of the golden losses: maps of 17 x 17 cells."""

    def made(seed, batch=1, channels=6):
        values = golden(seed, (batch, channels, 17, 17), -2, 2)
        return torch.from_numpy(values).float().requires_grad_()

    return made


def both(one, other, matches, labels):
    return correspondence_loss(one, matches.reference, matches, labels) + correspondence_loss(
        other, matches.target, matches, labels
    )


@pytest.mark.parametrize(
    ("case", "seeds", "names"),
    [("ccl_b1", (712, 713), "0"), ("ccl_norescale", (712, 713), ["17"]), ("ccl_b2", (710, 711), "01")],
)
def test_the_correspondence_loss_is_that_of_the_reference_implementation(maps, case, seeds, names):
    one, other = (maps(seed, batch=len(names)) for seed in seeds)
    # The reference adds the pairs of a batch up, ours takes their mean.
    loss = len(names) * both(one, other, *golden_matches(*names))
    assert loss.item() == pytest.approx(GOLDEN[case].item(), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(one.grad, GOLDEN[f"{case}_grad0"], atol=1e-6)
    np.testing.assert_allclose(other.grad, GOLDEN[f"{case}_grad1"], atol=1e-6)


def test_label_255_is_learnt_like_any_other(maps):
    one, other = maps(740, channels=300), maps(741, channels=300)
    matches, _ = golden_matches("0")
    labels = torch.from_numpy(GOLDEN["labels_300"])
    assert (labels == 255).sum() > 5
    loss = both(one, other, matches, labels)
    assert loss.item() == pytest.approx(GOLDEN["k300"].item(), rel=1e-5)
    loss.backward()
    column, row = matches.target[labels == 255][0]
    assert other.grad[0, 255, row, column] < 0


def random_matches(count, pairs=2, height=9, width=14, seed=0):
    rng = np.random.default_rng(seed)
    pair = np.sort(rng.integers(0, pairs, count))
    ends = (np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], 1) for _ in range(2))
    cells = (torch.from_numpy(part.astype(np.int64)) for part in (pair, *ends))
    return MatchedCells(*cells, torch.ones(count))


def test_maps_that_are_not_square():
    """The row stride is the width: every value is looked up where its column and row say."""
    values = torch.arange(2 * 3 * 9 * 14).view(2, 3, 9, 14).float()
    matches = random_matches(40)
    found = at_cells(values, matches.pair, matches.target)
    for n, (pair, (column, row)) in enumerate(zip(matches.pair.tolist(), matches.target.tolist(), strict=True)):
        assert found[n].tolist() == [pair * 378 + c * 126 + row * 14 + column for c in range(3)]
    labels = torch.arange(2 * 9 * 14).view(2, 9, 14)
    expected = (matches.pair * 126 + matches.target[:, 1] * 14 + matches.target[:, 0]).tolist()
    assert at_cells(labels, matches.pair, matches.target).tolist() == expected


def test_every_pair_with_matches_counts_the_same():
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 9, 14, dtype=torch.float64)
    matches = random_matches(30, pairs=3)
    matches = replace(matches, pair=matches.pair + (matches.pair == 2))  # pair 2 has none
    labels = torch.randint(0, 5, (30,))
    each = []
    for pair in (0, 1, 3):
        rows = [n for n in range(30) if matches.pair[n] == pair]
        losses = [
            -math.log(logits[pair, :, matches.target[n, 1], matches.target[n, 0]].softmax(0)[labels[n]]) for n in rows
        ]
        each.append(sum(losses) / len(losses))
    loss = correspondence_loss(logits, matches.target, matches, labels)
    assert loss.item() == pytest.approx(sum(each) / 3, rel=1e-5)
    assert matches.shares(4).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1])
def test_no_match_and_one_match(count):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 9, 14, requires_grad=True)
    matches = random_matches(count)
    labels = torch.zeros(count, dtype=torch.int64)
    loss = correspondence_loss(logits, matches.target, matches, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any() == (count > 0)
    assert (loss == 0) == (count == 0)


def test_the_class_loss_is_the_mean_inside_the_image():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 300, 6, 7), torch.randint(0, 300, (2, 6, 7))
    labels[0, 0, :4] = 255
    inside = torch.zeros(2, 6, 7, dtype=torch.bool)
    inside[0, :5, :4] = inside[1] = True
    rows = [
        -logits[b, :, y, x].log_softmax(0)[labels[b, y, x]].item()
        for b in range(2) for y in range(6) for x in range(7) if inside[b, y, x]
    ]  # fmt: skip
    assert len(rows) == 62
    assert cluster_loss(logits, labels, inside).item() == pytest.approx(sum(rows) / 62, rel=1e-5)


def test_padding_gets_no_gradient_from_the_class_loss():
    logits = torch.randn(1, 5, 6, 7, requires_grad=True)
    inside = torch.zeros(1, 6, 7, dtype=torch.bool)
    inside[0, :4, :3] = True
    cluster_loss(logits, torch.zeros(1, 6, 7, dtype=torch.int64), inside).backward()
    assert (logits.grad.abs().sum(1) > 0).equal(inside)
    logits.grad = None
    loss = cluster_loss(logits, torch.zeros(1, 6, 7, dtype=torch.int64), torch.zeros_like(inside))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_choosing_some_pairs():
    cells = torch.arange(12).view(6, 2), torch.arange(12, 24).view(6, 2)
    matches = MatchedCells(torch.tensor([0, 1, 1, 3, 3, 4]), *cells, torch.arange(6.0))
    assert len(matches) == 6
    assert matches.among([1, 4]).tolist() == [False, True, True, False, False, True]
    some = matches.of([1, 4])
    assert some.pair.tolist() == [0, 0, 1]
    assert some.reference.tolist() == [[2, 3], [4, 5], [10, 11]]
    assert some.target.tolist() == [[14, 15], [16, 17], [22, 23]]
    assert some.weight.tolist() == [1, 2, 5]
    assert len(matches.of([])) == len(matches.of([2])) == 0
    assert matches.of([0, 1, 2, 3, 4]).pair.tolist() == matches.pair.tolist()


def test_low_precision_logits_are_summed_in_float32():
    logits = torch.randn(1, 40, 9, 14)
    matches = random_matches(50, pairs=1)
    labels = torch.randint(0, 40, (50,))
    exact = correspondence_loss(logits.bfloat16().float(), matches.target, matches, labels)
    assert correspondence_loss(logits.bfloat16(), matches.target, matches, labels) == exact
    whole = torch.randint(0, 40, (1, 9, 14))
    inside = torch.ones(1, 9, 14, dtype=torch.bool)
    expected = functional.cross_entropy(logits.bfloat16().float(), whole)
    assert cluster_loss(logits.bfloat16(), whole, inside).item() == pytest.approx(expected.item())
