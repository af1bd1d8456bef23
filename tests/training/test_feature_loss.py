"""Losses on features at matches: values and gradients of the reference implementation, and what it gets wrong."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fgsn.training.feature_loss import (
    MEASURES,
    NEGATIVE_DISTANCE,
    Negatives,
    absolute_distance,
    divergence,
    draw_negatives,
    feature_loss,
    squared_distance,
)
from fgsn.training.losses import MatchedCells, class_correspondence_loss

HERE = Path(__file__).parent
CELLS, GOLDEN = np.load(HERE / "golden_losses.npz"), np.load(HERE / "golden_feature_losses.npz")
PUBLISHED = {"hinge": ("hingeC", "hingeF"), "l1": ("L1",), "l2": ("L2",), "kl": ("KL",)}
"""The names of the reference implementation; hingeC and hingeF differ in what they are given, not in themselves."""


def numbers(values):
    return torch.from_numpy(values.astype(np.int64))


def golden_matches(reference="reference", target="target", source=CELLS, weights=None):
    sides = [[numbers(source[f"{side}_{pair}"]) for pair in "01"] for side in (reference, target)]
    pair = torch.cat([torch.full((len(cells),), n) for n, cells in enumerate(sides[0])])
    reference, target = (torch.cat(side) for side in sides)
    return MatchedCells(
        pair, reference, target, torch.ones(len(pair)) if weights is None else torch.from_numpy(weights)
    )


def golden_weights():
    return np.concatenate([GOLDEN["weights_0"], GOLDEN["weights_1"]])


def golden_negatives():
    """The wrong partners that the reference implementation drew, with the distances that it computed."""
    first = (0, len(CELLS["reference_0"]))
    drawn = torch.cat([numbers(GOLDEN[f"negatives_{n}"]) + first[n] for n in (0, 1)])
    distances = np.concatenate([GOLDEN["distances_0"], GOLDEN["distances_1"]]) / math.hypot(17, 17)
    return Negatives(drawn[:, 0], drawn[:, 1], torch.from_numpy(distances.astype(np.float32)), 3)


@pytest.fixture
def maps(golden):
    return [torch.from_numpy(golden(seed, (2, 6, 17, 17), -2, 2)).float().requires_grad_() for seed in (710, 711)]


def at(gradient, matches, cells):
    """A gradient at the matched cells, after making sure that it is 0 elsewhere."""
    found = gradient[matches.pair, :, cells[:, 1], cells[:, 0]].clone()
    gradient = gradient.clone()
    gradient[matches.pair, :, cells[:, 1], cells[:, 0]] = 0
    assert not gradient.any()
    return found


def compare(case, loss, maps, matches, factor=1.0):
    """Value and gradients; the reference adds the pairs of a batch up, ours takes their mean."""
    assert factor * loss.item() == pytest.approx(GOLDEN[case].item(), rel=1e-5)
    loss.backward()
    for side, values, cells in zip((0, 1), maps, (matches.reference, matches.target), strict=True):
        expected = GOLDEN[f"{case}_grad{side}"]
        found = torch.zeros(len(matches), 6) if values.grad is None else at(values.grad, matches, cells)
        np.testing.assert_allclose(factor * found, expected, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PUBLISHED.items() for name in names])
def test_matches_without_wrong_partners(maps, kind, name, weighted):
    case = f"fl_{name}_n0_{'w' if weighted else 'wNone'}"
    if case not in GOLDEN:  # equal to the one of hingeF, and among the golden losses already
        assert case == "fl_hingeC_n0_wNone"
        case = "fl_hingeF_n0_wNone"
    matches = golden_matches(weights=golden_weights() if weighted else None)
    compare(case, feature_loss(kind, *maps, matches), maps, matches, factor=2)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PUBLISHED.items() for name in names])
def test_matches_and_three_wrong_partners_each(maps, kind, name):
    matches = golden_matches(weights=golden_weights())
    compare(f"fl_{name}_n3_w", feature_loss(kind, *maps, matches, golden_negatives()), maps, matches, factor=2)


def rows_of(maps, matches):
    one, other = (values.detach() for values in maps)
    return (
        one[matches.pair, :, matches.reference[:, 1], matches.reference[:, 0]],
        other[matches.pair, :, matches.target[:, 1], matches.target[:, 0]],
    )


def test_distances_without_margin_and_without_a_mean(maps):
    matches = golden_matches(weights=golden_weights())
    one, other = rows_of(maps, matches)
    plain = (matches.shares(2) * matches.weight * absolute_distance(one, other)).sum()
    assert 2 * plain.item() == pytest.approx(GOLDEN["fl_L1_n0_w_defaultthr"].item(), rel=1e-5)
    summed = (matches.weight * squared_distance(one, other).clamp(min=0.64 * 6)).sum()
    assert summed.item() == pytest.approx(GOLDEN["fl_L2_n0_w_sum"].item(), rel=1e-5)


def test_the_divergence_of_probabilities_as_in_the_code_of_2019(maps):
    """There the network's output has gone through softmax before; the gradient is that of the probabilities."""
    matches = golden_matches(weights=golden_weights())
    one, other = (rows.softmax(dim=1).requires_grad_() for rows in rows_of(maps, matches))
    means = torch.tensor([GOLDEN["weights_0"].mean(), GOLDEN["weights_1"].mean()])[matches.pair]
    loss = (matches.shares(2) * means * divergence(one, other)).sum()
    case = "css_fl_KL_n0_w"
    assert 2 * loss.item() == pytest.approx(GOLDEN[case].item(), rel=1e-5)
    loss.backward()
    expected = GOLDEN[f"{case}_grad1"]
    shared = [n for n in range(len(matches)) if _alone(matches, matches.target, n)]
    np.testing.assert_allclose(2 * other.grad[shared], expected[shared], atol=1e-6)


def _alone(matches, cells, n):
    same = (cells == cells[n]).all(dim=1) & (matches.pair == matches.pair[n])
    return int(same.sum()) == 1


@pytest.mark.parametrize("ignored", [(), (0, 2)])
def test_the_class_loss_is_that_of_the_reference_implementation(maps, ignored):
    """There all matches of a batch count the same, here all pairs do: so pair by pair."""
    case = "corrclass_ignore_0_2" if ignored else "corrclass"
    matches = golden_matches("class_reference", "class_target", GOLDEN)
    seen = maps[0].argmax(dim=1)[matches.pair, matches.reference[:, 1], matches.reference[:, 0]]
    used = ~torch.isin(seen, torch.tensor(ignored, dtype=torch.int64))
    counts = [int((used & (matches.pair == n)).sum()) for n in (0, 1)]
    total = 0
    for n in (0, 1):
        mine = matches.where(matches.pair == n)
        total = total + counts[n] * class_correspondence_loss(*maps, mine, ignored)
    assert maps[0].grad is None
    compare(case, total / sum(counts), maps, matches)


def cells(*points):
    return torch.tensor(points, dtype=torch.int64)


def made(reference, target, pair=None):
    return MatchedCells(pair if pair is not None else torch.zeros(len(target), dtype=torch.int64), reference, target,
                   torch.ones(len(target)))  # fmt: skip


def test_a_target_cell_learns_the_class_of_its_first_match():
    reference = torch.zeros(1, 3, 2, 2)
    reference[0, 2, 0, 0], reference[0, 1, 1, 1] = 5.0, 5.0  # class 2 at (0, 0), class 1 at (1, 1)
    target = torch.zeros(1, 3, 2, 2, requires_grad=True)
    matches = made(cells((0, 0), (1, 1), (1, 1)), cells((1, 0), (1, 0), (0, 1)))
    class_correspondence_loss(reference, target, matches).backward()
    assert target.grad[0, :, 0, 1].argmin() == 2
    assert target.grad[0, :, 1, 0].argmin() == 1
    assert class_correspondence_loss(reference, target, matches, ignored=(1, 2)).item() == 0.0


@pytest.mark.parametrize("kind", MEASURES)
@pytest.mark.parametrize("count", [0, 1])
def test_no_match_and_one_match(kind, count):
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, 9, 14, requires_grad=True) for _ in range(2)]
    matches = made(cells(*[(3, 4)] * count).reshape(-1, 2), cells(*[(1, 2)] * count).reshape(-1, 2))
    loss = feature_loss(kind, *maps, matches, draw_negatives(matches, 2, 8, (9, 14), [torch.Generator()] * 3))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(values.grad).all() for values in maps)
    assert (loss == 0) == (count == 0)


def test_a_zero_feature_gives_a_finite_loss_and_gradient():
    reference = torch.zeros(1, 4, 9, 40, requires_grad=True)
    target = torch.randn(1, 4, 9, 40, requires_grad=True)
    matches = random_matches(20, pairs=1, width=40)
    for kind in MEASURES:
        reference.grad = target.grad = None
        loss = feature_loss(
            kind, reference, target, matches, draw_negatives(matches, 1, 8, (9, 40), [torch.Generator()] * 3)
        )
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(reference.grad).all()
        assert torch.isfinite(target.grad).all()


def random_matches(count, pairs=2, height=9, width=14, seed=0):
    rng = np.random.default_rng(seed)
    pair = np.sort(rng.integers(0, pairs, count))
    ends = (np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], 1) for _ in range(2))
    return MatchedCells(*(numbers(part) for part in (pair, *ends)), torch.ones(count))


def test_wrong_partners_are_far_matches_of_the_same_pair_and_all_of_them_come_up():
    matches = random_matches(60, pairs=3, height=40, width=50)
    drawn = [set() for _ in range(60)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        negatives = draw_negatives(matches, 2, 8, (40, 50), [generator] * 3)
        for match, other, share in zip(negatives.match, negatives.other, negatives.distance, strict=True):
            drawn[match].add(other.item())
            apart = math.dist(matches.target[match].numpy(), matches.target[other].numpy())
            assert share.item() == pytest.approx(apart / math.hypot(40, 50))
    for n in range(60):
        far = {
            m for m in range(60)
            if matches.pair[m] == matches.pair[n]
            and math.dist(8 * matches.target[m].numpy(), 8 * matches.target[n].numpy()) >= NEGATIVE_DISTANCE
        }  # fmt: skip
        assert n not in drawn[n]
        assert drawn[n] == far


def test_a_partner_at_exactly_200_pixels_is_far_enough():
    target = cells((0, 0), (25, 0), (24, 0), (0, 25))
    negatives = draw_negatives(made(target, target), 1, 8, (26, 26), [torch.Generator()] * 3)
    assert negatives.match.tolist() == [0, 1, 2, 3]
    assert negatives.other[2] == 3
    assert draw_negatives(made(target, target), 0, 8, (26, 26), [torch.Generator()] * 3) is None
    assert len(draw_negatives(made(target[:1], target[:1]), 1, 8, (26, 26), [torch.Generator()] * 3).match) == 0


def test_the_hinge_loss_of_matches_and_wrong_partners():
    """Two matches 200 pixels apart are each other's wrong partners; the margins are 0.8 and 0.2."""
    at_cells = cells((0, 0), (25, 0))
    matches = made(at_cells, at_cells)
    reference, target = torch.zeros(1, 2, 1, 26), torch.zeros(1, 2, 1, 26)
    reference[0, :, 0, 0], reference[0, :, 0, 25] = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0])
    target[0, :, 0, 0], target[0, :, 0, 25] = torch.tensor([0.6, 0.8]), torch.tensor([0.0, 3.0])
    # Match 0: cosine 0.6 to its partner, 0 to the wrong one. Match 1: 1 to its partner, 0.8 to the wrong one.
    expected = ((0.8 - 0.6) + 0 + 0 + (0.8 - 0.2)) / 2 / (1 + 1)
    negatives = draw_negatives(matches, 1, 8, (1, 26), [torch.Generator()] * 3)
    assert feature_loss("hinge", reference, target, matches, negatives).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", MEASURES)
def test_every_pair_counts_the_same(kind):
    """The loss of a batch is the mean of the losses of its pairs, whatever their numbers of matches."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, 30, 40) for _ in range(2)]
    matches = random_matches(30, height=30, width=40)
    matches = MatchedCells(matches.pair, matches.reference, matches.target, torch.rand(30))
    negatives = draw_negatives(matches, 2, 8, (30, 40), [torch.Generator()] * 3)
    each = []
    for n in (0, 1):
        rows = (matches.pair == n).nonzero()[:, 0].tolist()
        mine = [k for k, row in enumerate(negatives.match.tolist()) if row in rows]
        some = Negatives(
            torch.tensor([rows.index(row) for row in negatives.match[mine].tolist()]),
            torch.tensor([rows.index(row) for row in negatives.other[mine].tolist()]),
            negatives.distance[mine],
            2,
        )
        alone = [values[n : n + 1] for values in maps]
        each.append(feature_loss(kind, *alone, matches.of([n]), some).item())
    assert feature_loss(kind, *maps, matches, negatives).item() == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize("kind", MEASURES)
def test_losses_leave_what_they_are_given_as_it_is(kind):
    """The published code rescaled the points of its caller."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, 30, 40) for _ in range(2)]
    matches = random_matches(30, height=30, width=40)
    given = [*maps, *vars(matches).values()]
    before = [values.clone() for values in given]
    negatives = draw_negatives(matches, 2, 8, (30, 40), [torch.Generator()] * 3)
    feature_loss(kind, *maps, matches, negatives)
    class_correspondence_loss(*maps, matches, (1,))
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))
