"""The correspondence files of a data set: read them all, and report those that cannot be used."""

from collections.abc import Iterator
from dataclasses import dataclass

from fgsn.data.correspondences import Correspondences, missing_images, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.find_image import MissingImageError
from fgsn.errors import FgsnError
from fgsn.progress import tracked


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
