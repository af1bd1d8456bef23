"""The gallery of clusters: share, stationarity, most typical patches, and confusions of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fgsn.data.images import read_image
from fgsn.evaluation.stationary import count_pixels, stationary_threshold
from fgsn.inference.correspondence_labels import PointLabels
from fgsn.inference.model import Model
from fgsn.models.layers import STRIDE
from fgsn.progress import tracked
from fgsn.report.pictures import data_uri, hexadecimal
from fgsn.report.sources import ReportSources

SHOWN = 120
"""Number of clusters on the page, the most frequent ones."""
IMAGES = 40
"""Number of images to search for patches."""
PATCHES = 8
"""Approximate number of patches per cluster, over all conditions."""
SIDE = 64
"""Side of a patch on the page, in pixels."""
PART_OF_IMAGE = 0.16
"""Side of a patch relative to the shorter side of its image."""
CONFUSED = 3


class Patch(NamedTuple):
    """A patch of an image."""

    condition: str
    picture: str
    """Data URI."""


class Confused(NamedTuple):
    """A label that a cluster is confused with in the other condition."""

    name: str
    colour: str
    share: float
    """Share of the points of the cluster."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of the gallery."""

    name: str
    colour: str
    share: float
    """Share of the pixels of all images."""
    stays: bool
    """Whether it is stationary."""
    carried: float
    """Share of its pixels in reference images that have a correspondence."""
    points: int
    """Correspondences whose reference point has this label."""
    agreement: float | None
    """Share of them whose target point has it too; None without points."""
    confused: list[Confused]
    """The most frequent other labels of the target points, the most frequent first."""
    patches: list[Patch]
    """Where the network assigns it the highest probability."""


def clusters(sources: ReportSources, points: PointLabels) -> list[Cluster]:
    """The largest clusters, the largest first; FgsnError if an image or label map is missing or broken."""
    model, dataset = sources.model, sources.dataset
    assert model is not None
    assert dataset is not None
    count = model.clusters
    images = sorted({image for pair in sources.pairs for image in (pair.reference, pair.target)})
    pixels = np.zeros(count, np.int64)
    for image in images:
        pixels += np.bincount(sources.labels(image).ravel(), minlength=count)
    in_reference, carrying = count_pixels(sources.labels, sources.pairs, count)
    carried = carrying / np.maximum(in_reference, 1)
    stays = np.array(model.stationary or carried > stationary_threshold(in_reference, carrying))
    names = model.classes or [str(number) for number in range(count)]
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (points.reference, points.target), 1)
    shown = [int(label) for label in np.argsort(-pixels, kind="stable")[:SHOWN] if pixels[label]]
    searched = [(image, dataset.condition(image), dataset.place(image)) for image in _selected_images(sources, images)]
    patches = _patches(model, searched, shown)
    found = []
    for label in shown:
        row, total = table[label], int(table[label].sum())
        others = [int(other) for other in np.argsort(-row, kind="stable") if other != label and row[other]][:CONFUSED]
        found.append(
            Cluster(
                name=names[label],
                colour=hexadecimal(model.palette[label]),
                share=float(pixels[label] / pixels.sum()),
                stays=bool(stays[label]),
                carried=float(carried[label]),
                points=total,
                agreement=float(row[label] / total) if total else None,
                confused=[Confused(names[o], hexadecimal(model.palette[o]), float(row[o] / total)) for o in others],
                patches=patches[label],
            )
        )
    return found


def _selected_images(sources: ReportSources, images: Sequence[Path]) -> list[Path]:
    """About IMAGES images, evenly from all conditions, reference images first."""
    assert sources.dataset is not None
    references = {pair.reference for pair in sources.pairs}
    groups: dict[str, list[Path]] = {}
    for image in sorted(images, key=lambda image: (image not in references, image)):
        groups.setdefault(sources.dataset.condition(image), []).append(image)
    each = max(1, IMAGES // len(groups))
    return [group[number * len(group) // each] for group in groups.values() for number in range(min(each, len(group)))]


def _patches(model: Model, images: Sequence[tuple[Path, str, str]], labels: Sequence[int]) -> dict[int, list[Patch]]:
    """For each label, the patches where its probability is highest, equally many per condition, of different places.

    `images` are paths with their conditions and places.
    """
    conditions = list(dict.fromkeys(condition for _, condition, _ in images))
    place_of = {image: place for image, _, place in images}
    best: dict[tuple[int, str], list[tuple[float, Path, float, float]]] = {}
    for image, condition, _ in tracked(images, "typical patches", len(images)):
        probability, column, row = _peaks(model, read_image(image))
        for label in labels:
            if probability[label] > 0:
                spot = (float(probability[label]), image, float(column[label]), float(row[label]))
                best.setdefault((label, condition), []).append(spot)
    each = max(1, PATCHES // len(conditions))
    spots: dict[Path, list[tuple[int, str, int, float, float]]] = {}
    for (label, condition), found in best.items():
        of_place = {place_of[spot[1]]: spot for spot in sorted(found, key=lambda spot: spot[0])}  # the best of each
        chosen = sorted(of_place.values(), reverse=True, key=lambda spot: spot[0])[:each]
        for rank, (_, image, x, y) in enumerate(chosen):
            spots.setdefault(image, []).append((label, condition, rank, x, y))
    cut: dict[tuple[int, int, int], Patch] = {}
    for image, entries in spots.items():
        pixels = read_image(image)
        for label, condition, rank, x, y in entries:
            cut[label, conditions.index(condition), rank] = Patch(condition, _cut(pixels, x, y))
    return {label: [cut[key] for key in sorted(key for key in cut if key[0] == label)] for label in labels}


def _peaks(
    model: Model, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Highest probability (K,) of each label in the cells that it wins, 0 if none, and its x and y in pixels (K,)."""
    scores = model.scores(pixels)
    probability = torch.softmax(scores.float(), dim=0)
    winner = probability.argmax(dim=0)
    mine = torch.nn.functional.one_hot(winner, len(scores)).permute(2, 0, 1).bool()
    peak, cell = torch.where(mine, probability, 0.0).flatten(1).max(dim=1)
    row, column = np.divmod(cell.cpu().numpy(), scores.shape[2])
    scale = pixels.shape[0] / model.prepared(pixels).shape[1]
    return peak.cpu().numpy(), column * STRIDE * scale, row * STRIDE * scale


def _cut(pixels: NDArray[np.uint8], x: float, y: float) -> str:
    """A square around a pixel, shifted to lie inside the image, as a data URI."""
    height, width = pixels.shape[:2]
    side = max(8, round(PART_OF_IMAGE * min(height, width)))
    left, top = (int(min(max(at - side / 2, 0), size - side)) for at, size in ((x, width), (y, height)))
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return data_uri(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), "JPEG", quality=75)
