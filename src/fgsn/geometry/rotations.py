"""Batched rotations in torch: unit quaternions (..., 4), scalar first, as in `Pose.quaternion`.

A rotation vector (..., 3) is axis times angle in radians.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def multiply(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 4"]:
    """Rotation by b, then by a; the product is normalised to prevent drift."""
    a0, b0, a1, b1 = a[..., :1], b[..., :1], a[..., 1:], b[..., 1:]
    scalar = a0 * b0 - (a1 * b1).sum(-1, keepdim=True)
    vector = a0 * b1 + b0 * a1 + torch.linalg.cross(*torch.broadcast_tensors(a1, b1))
    return torch.nn.functional.normalize(torch.cat([scalar, vector], dim=-1), dim=-1)


def inverse(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Inverse rotations."""
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], dim=-1)


def from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Quaternions of rotation vectors."""
    half = vector.norm(dim=-1, keepdim=True) / 2
    return torch.cat([half.cos(), torch.sinc(half / torch.pi) / 2 * vector], dim=-1)


def to_vector(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Inverse of `from_vector`, with angles up to pi."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return torch.where(sine > 1e-6, angle / sine.clamp(min=1e-12), 2.0) * quaternion[..., 1:]


def difference(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 3"]:
    """The rotation vector from b to a."""
    return to_vector(multiply(a, inverse(b)))


def to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices."""
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def mean(quaternions: Float[Tensor, "count 4"], weights: Float[Tensor, " count"]) -> Float[Tensor, "4"]:
    """The weighted mean rotation in the chordal distance (Markley et al., 2007).

    The signs of the quaternions do not matter. Weights are non-negative and need not sum to 1.
    """
    quaternions = quaternions.double()
    moment = torch.einsum("n,ni,nj->ij", weights.double() / weights.sum(), quaternions, quaternions)
    return torch.linalg.eigh(moment).eigenvectors[:, -1].float()
