"""Make a data set ready for training: split it by place, list its reference images and their key points."""

import hashlib
from collections.abc import Sequence


def split_places(places: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split places into training and validation, without replacement.

    A pure function of the set of names, the share and the seed: order and machine do not matter, and a larger share
    only adds places to the validation side.

    Args:
        places: names of places; repeated ones count once.
        share: share of the places for validation, between 0 and 1.
        seed: another seed gives another split.

    Returns:
        Names of training and of validation places, each sorted. Both sides have one place at least when there are two;
        a single place is for training.
    """
    ranked = sorted(set(places), key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))
    count = validation_count(len(ranked), share)
    return sorted(ranked[count:]), sorted(ranked[:count])


def validation_count(places: int, share: float) -> int:
    """How many of so many places are for validation: the share, rounded, and never all or none of two or more."""
    return min(max(round(share * places), 1), places - 1) if places >= 2 else 0
