"""The order of samples: a pure function of the step, and cheap however many samples there are."""

import pytest

from fgsn.data.augment import generator
from fgsn.training import batches
from fgsn.training.batches import shuffled


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_every_epoch_has_its_own_permutation_and_a_batch_may_span_several(batch):
    epochs = [generator(3, 1, epoch).permutation(7).tolist() for epoch in range(9)]
    expected = [sample for epoch in epochs for sample in epoch]
    for step in reversed(range(6)):  # in any order of steps
        assert shuffled(7, step, batch, seed=3, purpose=1) == expected[step * batch : (step + 1) * batch]


def test_an_epoch_costs_one_permutation(monkeypatch):
    drawn = []
    monkeypatch.setattr(batches, "generator", lambda *stream: (drawn.append(stream), generator(*stream))[1])
    batches._order.cache_clear()
    for step in range(20):
        for purpose in (1, 5):  # two streams, as in training a base network with pairs
            shuffled(8, step, 3, seed=0, purpose=purpose)
    assert sorted(drawn) == [(0, purpose, epoch) for purpose in (1, 5) for epoch in range(8)]
