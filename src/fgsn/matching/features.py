"""Local features and matches of many images, cached in a folder."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from fgsn.data.images import read_image
from fgsn.errors import CannotWriteError, FgsnError
from fgsn.files import file_stamp, inside
from fgsn.formats.hdf5 import opened, stamp_of
from fgsn.matching.augmentation import Augmentation
from fgsn.matching.feature_matches import FeatureMatches, read_matches, write_matches
from fgsn.matching.keypoints import Keypoints, read_keypoints, write_keypoints
from fgsn.matching.matcher import Matcher, extract_scaled, make_matcher
from fgsn.processes import Workers
from fgsn.progress import Meter

Found = TypeVar("Found")
_IN_MEMORY = 64  # images whose features stay in memory


class Features:
    """Features of images and matches between them, computed on demand and cached in files of hloc's layout.

    There is one small file per image and per pair, written atomically: an interrupted run continues where it stopped.
    A file is computed again when its image has changed since; an image that changes after it was first used here is
    left as it was.
    """

    def __init__(
        self,
        images: Mapping[str, Path],
        matcher: Matcher,
        folder: Path,
        longest: int = 1024,
        augmentation: Augmentation | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Set up the cache; nothing is computed yet.

        Args:
            images: path of every image by its name.
            matcher: finds features and matches.
            folder: where the files are kept.
            longest: length in pixels to which the longer side of an image is resized (see `extract_scaled`).
            augmentation: what is appended to descriptors before they are matched; the features stay as they are.
            workers: share the work of `extract` and `match_all`. On a GPU they are threads, which read images and write
                files while one of them computes.
        """
        self.images, self.matcher, self.augmentation = dict(images), matcher, augmentation
        self.folder, self.longest, self.workers = folder, longest, workers or Workers(0)
        options = f"{matcher.keypoints}-{longest}"
        self._features = folder / f"features-{matcher.features}-{options}"
        appended = f"-{augmentation.name}" if augmentation else ""
        self._matches = folder / f"matches-{matcher.name}-{options}{appended}"
        self._cached = lru_cache(_IN_MEMORY)(self._read_or_extract)
        self._stamps: dict[str, str] = {}
        self._one_at_a_time = Lock()

    def __getitem__(self, name: str) -> Keypoints:
        """The features of an image.

        Raises:
            FgsnError: the image is unknown or damaged.
        """
        return self._cached(name)

    def extract(self, names: Iterable[str]) -> dict[str, str]:
        """Compute the features of all these images, with progress.

        Returns:
            The damaged images, and what is wrong with each.
        """
        failed = self._compute_all([(name,) for name in names], "features", " images")
        return {name: reason for (name,), reason in failed.items()}

    def match_all(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Match all these pairs, with progress; `match` then reads the files.

        Returns:
            The pairs with a damaged image, and what is wrong with each.
        """
        failed = self._compute_all(pairs, "matching", " pairs")
        return {(a, b): reason for (a, b), reason in failed.items()}

    def match(self, a: str, b: str) -> FeatureMatches:
        """Rows of the matched features in both images, and the score of each match.

        Raises:
            FgsnError: an image is unknown or damaged.
        """
        path, stamp = self._file(a, b)
        found = _readable(read_matches, path, a, b, stamp)
        if found is None:
            to_match = self.to_match(a), self.to_match(b)
            with self._one_at_a_time:
                found = self.matcher.match(*to_match)
            write_matches(path, a, b, len(self[a]), found, stamp)
        return found

    def to_match(self, name: str) -> Keypoints:
        """The features of an image with what is appended to their descriptors.

        Raises:
            FgsnError: the image is unknown or damaged.
        """
        plain = self[name]
        return self.augmentation(name, self.images[name], plain) if self.augmentation else plain

    def _compute_all(self, names: Iterable[tuple[str, ...]], title: str, unit: str) -> dict[tuple[str, ...], str]:
        """Compute the missing features (of single names) or matches (of pairs); returns the failures with reasons."""
        jobs = [job for job in dict.fromkeys(names) if not self._is_cached(job)]
        threads, reasons = self.matcher.device != "cpu", []
        here = threads or not self.workers.share(jobs)
        tasks = [(self if here else self._only(job), *job) for job in jobs]
        with Meter(title, len(jobs), unit=unit) as meter:
            for reason in self.workers.run(_compute, tasks, threads):
                reasons.append(reason)
                meter.step()
        return {job: reason for job, reason in zip(jobs, reasons, strict=True) if reason}

    def _is_cached(self, names: tuple[str, ...]) -> bool:
        """Whether the features of one image, or the matches of two, are in their file."""
        try:
            path, stamp = self._file(*names)
            with opened(path) as file:
                return stamp_of(file) == stamp
        except FgsnError:
            return False  # computing it reports what is wrong

    def _only(self, names: Iterable[str]) -> "Features":
        """The same for some images, to be sent to another process."""
        images = {name: self.images[name] for name in names}
        return Features(images, self.matcher, self.folder, self.longest, self.augmentation)

    def __reduce__(self) -> tuple[Any, ...]:
        matcher = (self.matcher.name, self.matcher.keypoints, self.matcher.device)
        return _unpickled, (matcher, self.images, (self.folder, self.longest, self.augmentation))

    def _read_or_extract(self, name: str) -> Keypoints:
        path, stamp = self._file(name)
        found = _readable(read_keypoints, path, name, stamp)
        if found is None:
            image = read_image(self.images[name])
            with self._one_at_a_time:
                found = extract_scaled(self.matcher, image, self.longest)
            write_keypoints(path, {name: found}, stamp)
        return found

    def _file(self, name: str, *other: str) -> tuple[Path, str]:
        """The file of an image's features, or of its matches with another, and the stamp of an up-to-date file."""
        if not other:
            return inside(self._features, f"{name}.h5"), self._stamp(name)
        (second,) = other
        flat = second.replace("%", "%25").replace("/", "%2F")  # another one for every name
        path = inside(self._matches, name) / f"{flat}.h5"
        return path, f"{self._stamp(name)} {self._stamp(second)}"

    def _stamp(self, name: str) -> str:
        if name not in self.images:
            raise FgsnError(f"there is no image '{name}'")
        if name not in self._stamps:
            self._stamps[name] = file_stamp(self.images[name])
        return self._stamps[name]


def _readable(read: Callable[..., Found | None], *of: Any) -> Found | None:
    """What `read` finds; a damaged file is as good as none, as it is computed again."""
    try:
        return read(*of)
    except FgsnError:
        return None


def _compute(features: Features, name: str, *other: str) -> str:
    """Compute the features of an image, or its matches with another; returns the reason of a failure, else ''."""
    try:
        _ = features.match(name, *other) if other else features[name]
    except CannotWriteError:
        raise
    except FgsnError as error:
        return str(error)
    return ""


def _unpickled(matcher: tuple[str, int, str], images: dict[str, Path], more: tuple[Any, ...]) -> Features:
    return Features(images, _matcher_of_process(*matcher), *more)


@lru_cache(1)
def _matcher_of_process(name: str, keypoints: int, device: str) -> Matcher:
    """The one matcher of a worker process, with one thread."""
    import torch

    torch.set_num_threads(1)
    return make_matcher(name, keypoints, device)
