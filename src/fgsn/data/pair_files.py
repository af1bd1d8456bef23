"""The correspondence files of a data set: read them all, and report those that cannot be used."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fgsn.data.correspondences import Correspondences, missing_images, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.find_image import MissingImageError
from fgsn.data.images import image_size
from fgsn.errors import FgsnError
from fgsn.progress import tracked

Item = TypeVar("Item")

SAMPLED = 50
"""Pairs whose points are compared with the sizes of their images, at most."""


def require_inside(pairs: Iterable[Correspondences]) -> None:
    """Require (FgsnError) of most pairs that most points lie inside both images, which may have been resized since."""
    odd, count = [], 0
    for pair in pairs:
        count += 1
        for image, points in ((pair.reference, pair.points_ref), (pair.target, pair.points_tgt)):
            with suppress(FgsnError):  # an image that cannot be read is reported where it is needed
                width, height = image_size(image)
                outside = (points < -0.5).any(axis=1) | (points > (width - 0.5, height - 0.5)).any(axis=1)
                if 2 * outside.sum() > len(points):
                    odd.append(f"{image} ({width} x {height})")
                    break
    if len(odd) > count / 2:
        raise FgsnError(
            f"most points lie outside their images, first {odd[0]}: were the images resized after their "
            "correspondences were found? fgsn check lists all"
        )


def sampled(pairs: Sequence[Item]) -> Sequence[Item]:
    """At most `SAMPLED` of the pairs, evenly."""
    return pairs[:: max(1, -(-len(pairs) // SAMPLED))]


@dataclass(frozen=True)
class PairFile:
    """One correspondence file: its name, the names of its images, and its number of points."""

    file: str
    reference: str
    target: str
    points: int

    @property
    def images(self) -> tuple[str, str]:
        """Both images, reference first."""
        return self.reference, self.target


def read_pair_files(
    dataset: Dataset, missing: list[str], broken: list[str]
) -> Iterator[tuple[PairFile, Correspondences]]:
    """Read every correspondence file once, with progress; skip those that cannot be used.

    `missing` receives one line for each folder of images/ that lacks images, `broken` one for each broken file.
    """
    files, waiting = dataset.correspondence_files(), False
    for path in tracked(files, "reading correspondences", len(files), unit=" files"):
        try:
            found = read_correspondences(path, dataset.images)
        except MissingImageError:
            waiting = True
        except FgsnError as error:
            broken.append(str(error))
        else:
            names = dataset.name(found.reference), dataset.name(found.target)
            yield PairFile(path.name, *names, len(found.weights)), found
    if waiting:
        missing += missing_images(files, dataset.images)
