"""The weight of labels in descriptors, by the right matches that it finds."""

from fgsn.matching.choose_weight import best_weight


def test_the_best_weight_has_most_right_matches_and_is_small():
    assert best_weight({"0": 3.0, "0.1": 5.0, "0.3": 5.0, "0.5": 4.0}) == 0.1
    assert best_weight({"0": 3.0, "0.5": 3.0}) == 0.0
