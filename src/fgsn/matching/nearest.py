"""Mutual nearest neighbours among descriptors, of two images or of an image and a whole map."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from fgsn.matching.feature_matches import FeatureMatches, no_matches

_ANY_COSINE = -2.0
_VALUES_AT_ONCE = 2**24
"""Cosines in memory at a time (64 MiB); those of two images, 2048 x 2048, are fewer."""


def mutual_nearest(
    a: Float32[np.ndarray, "m dim"],
    b: Float32[np.ndarray, "n dim"],
    *,
    least_cosine: float = _ANY_COSINE,
    largest_ratio: float | None = None,
    device: torch.device | str = "cpu",
) -> FeatureMatches:
    """Match unit descriptors that are mutual nearest neighbours.

    Args:
        a: of the one side.
        b: of the other.
        least_cosine: matches have a larger one.
        largest_ratio: of the angles to the nearest and to the second nearest descriptor (Lowe, 2004), in both
            directions; None for no such test.
        device: to compute on.

    Returns:
        Rows of `a` and `b`, and the cosine of each match.
    """
    count = 1 if largest_ratio is None else 2
    if min(len(a), len(b)) < count:
        return no_matches()
    with torch.inference_mode():
        forth, back = _nearest(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device), count)
        cosine, partner = forth[0][:, 0], forth[1][:, 0]
        rows = torch.arange(len(a), device=cosine.device)
        keep = (back[1][0][partner] == rows) & (cosine > least_cosine)
        if largest_ratio is not None:
            keep &= _distinct(forth[0].T, largest_ratio) & _distinct(back[0], largest_ratio)[partner]
        pairs = torch.stack([rows, partner], dim=1)[keep]
        return pairs.cpu().numpy(), cosine[keep].cpu().numpy()


_Best = tuple[Tensor, Tensor]  # the largest cosines, and their rows


def _nearest(a: Float[Tensor, "m dim"], b: Float[Tensor, "n dim"], count: int) -> tuple[_Best, _Best]:
    """The `count` largest cosines and their partners: (m, count) of each row of `a`, (count, n) of each row of `b`."""
    forth: list[_Best] = []
    back: list[_Best] = []
    width = max(1, _VALUES_AT_ONCE // len(a))
    for start in range(0, len(b), width):
        cosine = a @ b[start : start + width].T
        back.append(_largest(cosine, count, 0))
        values, partners = _largest(cosine, min(count, cosine.shape[1]), 1)
        forth.append((values, partners + start))
    if len(forth) > 1:
        values, partners = (torch.cat(part, dim=1) for part in zip(*forth, strict=True))
        values, order = _largest(values, count, 1)
        forth = [(values, partners.gather(1, order))]
    values, partners = (torch.cat(part, dim=1) for part in zip(*back, strict=True))
    return forth[0], (values, partners)


def _largest(values: Float[Tensor, "m n"], count: int, dim: int) -> _Best:
    # For one, max is faster.
    largest, rows = values.topk(count, dim=dim) if count > 1 else values.max(dim=dim, keepdim=True)
    return largest, rows


def _distinct(cosines: Float[Tensor, "2 n"], largest_ratio: float) -> Bool[Tensor, " n"]:
    nearest, second = torch.arccos(cosines.clamp(-1, 1))
    return nearest < largest_ratio * second
