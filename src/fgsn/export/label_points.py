"""A map in the colours of its labels: PLY for point cloud viewers, a COLMAP model for COLMAP's viewer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.files import atomic_write, write_text
from fgsn.geometry.colmap import write_model
from fgsn.inference.label_lookup import NO_LABEL
from fgsn.localization.labelled_map import LabelledMap

UNLABELLED = np.array([128, 128, 128], np.uint8)
_VERTEX = np.dtype([("xyz", "<f8", 3), ("rgb", "u1", 3), ("label", "<i4"), ("confidence", "<f4")])
_HEADER = """ply
format binary_little_endian 1.0
comment labels of fgsn: -1 for none, confidence is the share of the images that agree
element vertex {points}
property double x
property double y
property double z
property uchar red
property uchar green
property uchar blue
property int label
property float confidence
end_header
"""


def write_ply(path: Path, labelled: LabelledMap, palette: NDArray[np.uint8]) -> None:
    """Write the points as a binary PLY file: position, colour (K, 3) of the label, label, confidence."""
    points = np.empty(len(labelled.points), _VERTEX)
    points["xyz"], points["rgb"] = labelled.points, label_colours(labelled, palette)
    points["label"], points["confidence"] = labelled.labels, labelled.confidence
    with atomic_write(path) as aside:
        aside.write_bytes(_HEADER.format(points=len(points)).encode() + points.tobytes())


def write_colmap(folder: Path, labelled: LabelledMap, palette: NDArray[np.uint8]) -> None:
    """Write a COLMAP model whose points have the colours of their labels, and the labels as labels.txt."""
    write_model(folder, replace(labelled, colours=label_colours(labelled, palette)))
    rows = zip(labelled.labels.tolist(), labelled.confidence.tolist(), strict=True)
    lines = [f"{point} {label} {confidence:.4f}" for point, (label, confidence) in enumerate(rows, 1)]
    write_text(folder / "labels.txt", "\n".join(["# POINT3D_ID, LABEL (-1 for none), CONFIDENCE", *lines]) + "\n")


def label_colours(labelled: LabelledMap, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (M, 3) of every point's label; grey for points without a label."""
    return np.where((labelled.labels != NO_LABEL)[:, None], palette[labelled.labels], UNLABELLED)
