"""Some places in every condition: images and the label maps of every model."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fgsn.data.dataset import REFERENCE_LIST
from fgsn.report.pictures import image_uri, label_picture
from fgsn.report.sources import ModelLabels, ReportSources

PLACES = 4
STRIP_WIDTH = 640
DISTANCES = ("previous place", "the place", "next place")
WIDTHS = (960, 720, 480, 360, 270, 200, 140, 100)


class PlaceImage(NamedTuple):
    """One image of a place, as data URIs."""

    condition: str
    image: str
    labels: list[str | None]
    """Its label maps, one per model in the order of the page; None if there is none."""


@dataclass(frozen=True)
class Place:
    """A place in several conditions, the reference first."""

    name: str
    images: list[PlaceImage]


def places(sources: ReportSources, budget: int) -> list[Place]:
    """PLACES places, evenly spaced along the drive, at the largest width that fits into `budget` bytes."""
    dataset = sources.dataset
    if dataset is None or not sources.labelled:
        return []
    seen: dict[Path, list[Path]] = {}
    for pair in sources.pairs:
        seen.setdefault(pair.reference, [pair.reference]).append(pair.target)
    # Places with the most conditions, sorted by name.
    most = max(len({dataset.condition(image) for image in images}) for images in seen.values())
    full = [images for _, images in sorted(seen.items()) if len({dataset.condition(image) for image in images}) == most]
    chosen = [_one_of_each(sources, images) for images in full[:: max(1, len(full) // PLACES)][:PLACES]]
    found: list[Place] = []
    for width in WIDTHS:
        found = [
            Place(dataset.place(images[0]), [_place_image(sources, image, sources.labelled, width) for image in images])
            for images in chosen
        ]
        pictures = (uri for place in found for one in place.images for uri in (one.image, *one.labels) if uri)
        if sum(map(len, pictures)) <= budget:
            break
    return found


def three_distances(sources: ReportSources) -> list[PlaceImage]:
    """One place from three distances in two conditions, with the labels of the main model.

    The reference images of three consecutive places along the drive, then their target images in one other condition.
    Empty without three consecutive validation places that share another condition.
    """
    dataset = sources.dataset
    if dataset is None or sources.main is None:
        return []
    targets: dict[Path, dict[str, Path]] = {}
    for pair in sources.pairs:
        targets.setdefault(pair.reference, {}).setdefault(dataset.condition(pair.target), pair.target)
    split = "all" if (dataset.root / REFERENCE_LIST).is_file() else "validation"
    order = dataset.reference_images(split)
    triples = [three for three in zip(order, order[1:], order[2:], strict=False) if targets.keys() >= set(three)]
    for three in triples[len(triples) // 2 :] + triples[: len(triples) // 2]:
        different = len({dataset.place(image) for image in three}) == len(three)
        shared = set.intersection(*(set(targets[image]) for image in three)) - {dataset.condition(three[1])}
        if different and shared:
            other = [targets[image][min(shared)] for image in three]
            return [
                _place_image(sources, image, sources.labelled[-1:], STRIP_WIDTH, f"{where}, ")
                for images in (three, other)
                for image, where in zip(images, DISTANCES, strict=True)
            ]
    return []


def _one_of_each(sources: ReportSources, images: list[Path]) -> list[Path]:
    """One image per condition, the reference image first."""
    assert sources.dataset is not None
    first: dict[str, Path] = {}
    for image in images:
        first.setdefault(sources.dataset.condition(image), image)
    return list(first.values())


def _place_image(
    sources: ReportSources, image: Path, models: list[ModelLabels], width: int, where: str = ""
) -> PlaceImage:
    assert sources.dataset is not None
    files = [(labelled, sources.label_map(labelled, image)) for labelled in models]
    labels = [None if file is None else label_picture(file, width, labelled.palette) for labelled, file in files]
    return PlaceImage(f"{where}{sources.dataset.condition(image)}", image_uri(image, width), labels)
