"""Some places in every condition: images and the label maps of every model."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fgsn.report.pictures import image_uri, label_picture
from fgsn.report.sources import ReportSources

PLACES = 4
CONDITIONS = 10
WIDTHS = (480, 360, 270, 200, 140)


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
    """PLACES places, evenly spaced along the drive, at the largest width that fits into `budget` bytes.

    Raises:
        FgsnError: an image or label map is broken.
    """
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
            Place(dataset.place(images[0]), [_place_image(sources, image, width) for image in images])
            for images in chosen
        ]
        pictures = (uri for place in found for one in place.images for uri in (one.image, *one.labels) if uri)
        if sum(map(len, pictures)) <= budget:
            break
    return found


def _one_of_each(sources: ReportSources, images: list[Path]) -> list[Path]:
    """One image per condition, the reference image first."""
    assert sources.dataset is not None
    first: dict[str, Path] = {}
    for image in images:
        first.setdefault(sources.dataset.condition(image), image)
    return list(first.values())[:CONDITIONS]


def _place_image(sources: ReportSources, image: Path, width: int) -> PlaceImage:
    assert sources.dataset is not None
    files = [(labelled, sources.label_map(labelled, image)) for labelled in sources.labelled]
    labels = [None if file is None else label_picture(file, width, labelled.palette) for labelled, file in files]
    return PlaceImage(sources.dataset.condition(image), image_uri(image, width), labels)
