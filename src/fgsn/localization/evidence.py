"""What the label map of one image says of camera poses, given map points of which only position and label are known.

The likelihood is that of the whole image: a pixel at which a map point appears shows a label drawn from the point's
row of the confusion matrix, or, when the point is occluded, what any pixel thereabouts shows; all other pixels show
what any pixel thereabouts shows. Up to a constant, that is a likelihood ratio per visible point:

    log ((1 - occlusion) p(label in the image | label of the point) / p(label thereabouts) + occlusion)

A point outside the image says nothing (0), so poses that see many points and poses that see few compare fairly. A road
point on the road says little, since the lower part of the image is road at any pose: "thereabouts" is a horizontal band.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera

NEAREST = 0.1
"""Points less deep than this (metres, if the map is metric) are taken for not seen."""
CHUNK = 1 << 17
"""Projections at a time: what they need stays in the processor's cache."""
GPU_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class LabelEvidence:
    """Scores of poses in one image."""

    points: Float[Tensor, "3 points"]
    """Map points in the frame that the poses start from."""
    rows: Int[Tensor, " points"]
    """For each point the start of its label's row in `table`."""
    symbols: Int[Tensor, " padded"]
    """The image within a border of one pixel, row by row: what is to be seen, 0 for nothing."""
    table: Float[Tensor, " entries"]
    """Log-likelihood ratio for each label of points and each symbol, flat."""
    expected: Float[Tensor, " entries"]
    """The mean of `table` over what a visible point of this label would show at this height of the image."""
    camera: Camera
    """Without distortion."""

    @classmethod
    def of(
        cls,
        points: Float[Tensor, "points 3"],
        point_labels: Int[Tensor, " points"],
        probabilities: Float[Tensor, "labels labels"],
        labels: NDArray[np.integer],
        camera: Camera,
        occlusion: float,
        bands: int,
    ) -> "LabelEvidence":
        """Prepare an image; see `LabelEvidence` and the head of this file.

        Args:
            points: map points that may be seen.
            point_labels: their labels, 0 to K - 1.
            probabilities: p(label in the image | label of the point), rows that sum to 1.
            labels: (H, W) label map; values outside 0 to K - 1 say nothing.
            camera: of the image; a distorted one is undone first.
            occlusion: share of the points in view that are hidden, in (0, 1).
            bands: horizontal bands of the image that have label frequencies of their own.

        Raises:
            FgsnError: the label map is not of the camera's size.
        """
        device, count = points.device, len(probabilities)
        labels, camera = undistorted(labels, camera)
        height, width = labels.shape
        band = np.arange(height) * bands // height
        known = (labels >= 0) & (labels < count)
        pixel = np.where(known, band[:, None] * count + labels, -1)
        values, numbers, pixels = np.unique(pixel, return_inverse=True, return_counts=True)
        if values[0] >= 0:  # symbol 0 is kept for what says nothing
            values, numbers, pixels = np.append(-1, values), numbers + 1, np.append(0, pixels)
        padded = np.zeros((height + 2, width + 2), np.int32)
        padded[1:-1, 1:-1] = numbers.reshape(labels.shape)
        symbol_band, symbol_label = torch.from_numpy(values[1:] // count), torch.from_numpy(values[1:] % count)
        in_band = torch.zeros(bands).index_add_(0, symbol_band, torch.from_numpy(pixels[1:]).float())
        share = torch.from_numpy(pixels[1:]).float() / in_band[symbol_band]

        present, row = torch.unique(point_labels, return_inverse=True)
        likely = probabilities[present.long()][:, symbol_label.to(device)]
        ratio = torch.log((1 - occlusion) * likely / share.to(device) + occlusion)
        here = symbol_band.to(device)
        total = torch.zeros(len(present), bands, device=device)
        mean = total.index_add(1, here, likely * ratio) / total.index_add(1, here, likely).clamp(min=1e-9)
        nothing = torch.zeros(len(present), 1, device=device)
        return cls(
            points.T.contiguous(),
            (row * len(values)).int(),
            torch.from_numpy(padded.ravel()).to(device),
            torch.cat([nothing, ratio], dim=1).ravel(),
            torch.cat([nothing, mean[:, here]], dim=1).ravel(),
            camera,
        )

    def scores(
        self, rotation: Float[Tensor, "poses 3 3"], translation: Float[Tensor, "poses 3"]
    ) -> Float[Tensor, " poses"]:
        """Log-likelihood ratio of each pose (camera from the frame of the points): the sum over the points."""
        size = max(1, (CHUNK if self.points.device.type == "cpu" else GPU_CHUNK) // max(1, self.points.shape[1]))
        parts = zip(rotation.split(size), translation.split(size), strict=True)
        return torch.cat([self.table[self._entries(*part)].sum(dim=1) for part in parts])

    def support(self, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"]) -> float:
        """The score of one pose as a share of what it would be, on average, if all points were where it says.

        Near 1 at a good pose, near 0 or negative at a wrong one; 0 when no point is in view.
        """
        entries = self._entries(rotation[None], translation[None])
        expected = float(self.expected[entries].sum())
        return float(self.table[entries].sum()) / expected if expected > 1e-6 else 0.0

    def _entries(self, rotation: Tensor, translation: Tensor) -> Tensor:
        """Entries (poses, points) of `table`: where each point appears, and what is to be seen there."""
        camera = self.camera
        lens = rotation.new_tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        x, y, depth = torch.baddbmm(
            (lens @ translation[..., None]), lens @ rotation, self.points.expand(len(rotation), -1, -1)
        ).unbind(dim=1)
        behind = depth < NEAREST
        scale = depth.clamp_(min=NEAREST).reciprocal_()
        # The border makes every index one larger, and 0.5 more rounds instead of cutting off.
        column = x.mul_(scale).add_(1.5).clamp_(0, camera.width + 1).masked_fill_(behind, 0).int()
        row = y.mul_(scale).add_(1.5).clamp_(0, camera.height + 1).int()
        pixel = row.mul_(camera.width + 2).add_(column)
        return self.symbols[pixel].add_(self.rows)


def undistorted(labels: NDArray[np.integer], camera: Camera) -> tuple[NDArray[np.integer], Camera]:
    """The label map as a pinhole camera with the same focal lengths would see it; -1 where the lens did not look.

    Raises:
        FgsnError: the label map is not of the camera's size.
        MissingExtraError: the camera is distorted, and pycolmap is not installed.
    """
    if labels.shape != (camera.height, camera.width):
        raise FgsnError(
            f"a label map of {labels.shape[1]} x {labels.shape[0]} pixels does not go with a camera of {camera.width} "
            f"x {camera.height}"
        )
    if camera.is_pinhole:
        return labels, camera
    columns, rows, seen = _lens_grid(camera)
    straight = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    return np.where(seen, labels[rows, columns].astype(np.int64), -1), straight


@lru_cache(maxsize=16)
def _lens_grid(camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """For each pixel of the pinhole image its column and row in the distorted one, and whether there is one."""
    straight = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    pixels, _ = camera.project(straight.rays(straight.grid()))
    seen = camera.contains(pixels)
    columns, rows = np.where(seen[:, None], np.rint(pixels), 0).astype(np.int64).T
    shape = camera.height, camera.width
    return columns.reshape(shape), rows.reshape(shape), seen.reshape(shape)
