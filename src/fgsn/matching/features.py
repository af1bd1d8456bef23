"""Features and matches of many images, kept in a folder: what was found once is not looked for again."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Int64

from fgsn.data.images import read_image
from fgsn.errors import FgsnError
from fgsn.files import atomic_write, inside
from fgsn.formats.hdf5 import stored_array
from fgsn.matching.keypoints import Keypoints, read_keypoints, write_keypoints
from fgsn.matching.matcher import Matcher, extract_scaled, make_matcher
from fgsn.processes import processes
from fgsn.progress import Meter

Matches = tuple[Int64[np.ndarray, "matches 2"], Float32[np.ndarray, " matches"]]

_IN_MEMORY = 64  # images whose features are at hand


class Features:
    """Features of images and matches between them, found when asked for and kept in files of hloc's layout.

    One small file per image and per pair, each written whole: a run that was killed goes on where it was. A file is
    found anew when its image has changed.
    """

    def __init__(self, images: Mapping[str, Path], matcher: Matcher, folder: Path, longest: int = 1024) -> None:
        """Prepare; nothing is computed yet.

        Args:
            images: path of every image, by the name that it goes by everywhere else.
            matcher: finds features and matches.
            folder: where files are kept.
            longest: images are resized so that their longer side has this many pixels (see `extract_scaled`).
        """
        self.images, self.matcher = dict(images), matcher
        self.folder, self.longest = folder, longest
        made_with = f"{matcher.keypoints}-{longest}"
        self._features = folder / f"features-{matcher.features}-{made_with}"
        self._matches = folder / f"matches-{matcher.name}-{made_with}"
        self._read = lru_cache(_IN_MEMORY)(self._find)

    def __getitem__(self, name: str) -> Keypoints:
        """The features of an image.

        Raises:
            FgsnError: no such image, or it is broken.
        """
        return self._read(name)

    def extract(self, names: Iterable[str], workers: int | None = 0) -> dict[str, str]:
        """Find the features of all these images, with progress.

        Args:
            names: of the images.
            workers: number of processes; None: one per core; 0: none beside this one.

        Returns:
            Those that are broken, and why.
        """
        broken = self._everywhere(_extract_one, [(name,) for name in names], "features", " images", workers)
        return {name: why for (name,), why in broken.items()}

    def match_all(self, pairs: Iterable[tuple[str, str]], workers: int | None = 0) -> dict[tuple[str, str], str]:
        """Match all these pairs, with progress; `match` then finds the files.

        Args:
            pairs: names of two images each.
            workers: number of processes; None: one per core; 0: none beside this one.

        Returns:
            Those of which an image is broken, and why.
        """
        broken = self._everywhere(_match_one, pairs, "matching", " pairs", workers)
        return {(a, b): why for (a, b), why in broken.items()}

    def match(self, a: str, b: str) -> Matches:
        """Rows of the features of both images that belong together, and how sure each match is.

        Raises:
            FgsnError: an image is broken.
        """
        path, stamp = self._file(a, b)
        found = read_matches(path, a, b, stamp)
        if found is None:
            found = self.matcher.match(self[a], self[b])
            write_matches(path, a, b, len(self[a]), found, stamp)
        return found

    def _everywhere(
        self, work: Callable[..., str], wanted: Iterable[tuple[str, ...]], title: str, unit: str, workers: int | None
    ) -> dict[tuple[str, ...], str]:
        """Do what is not done yet; returns what is broken, and why."""
        jobs = [names for names in dict.fromkeys(wanted) if not self._kept(names)]
        alone = workers == 0 or len(jobs) < 2
        with Meter(title, len(jobs), unit=unit) as meter, processes(0 if alone else workers) as run:
            results = []
            for result in run(work, [(self if alone else self._of(job), *job) for job in jobs]):
                results.append(result)
                meter.step()
        return {job: why for job, why in zip(jobs, results, strict=True) if why}

    def _kept(self, names: tuple[str, ...]) -> bool:
        """Whether the features of one image, or the matches of two, are in their file."""
        try:
            path, stamp = self._file(*names)
            with h5py.File(path) as file:
                return file.attrs.get("stamp") == stamp
        except (OSError, KeyError, RuntimeError, TypeError, ValueError, FgsnError):
            return False  # the work itself tells what is wrong

    def _of(self, names: Iterable[str]) -> "Features":
        """The same for some images only, to be sent to another process."""
        return Features({name: self.images[name] for name in names}, self.matcher, self.folder, self.longest)

    def __reduce__(self) -> tuple[Any, ...]:
        matcher = self.matcher
        return _rebuilt, (self.images, matcher.name, matcher.keypoints, matcher.device, self.folder, self.longest)

    def _find(self, name: str) -> Keypoints:
        path, stamp = self._file(name)
        found = read_keypoints(path, name, stamp)
        if found is None:
            found = extract_scaled(self.matcher, read_image(self.images[name]), self.longest)
            write_keypoints(path, {name: found}, stamp)
        return found

    def _file(self, name: str, *other: str) -> tuple[Path, str]:
        """The file of an image's features, or of its matches with another, and the stamp that it must bear."""
        if not other:
            return inside(self._features, f"{name}.h5"), self._stamp(name)
        (second,) = other
        path = inside(self._matches, name) / f"{second.replace('/', '-')}.h5"
        return path, f"{self._stamp(name)} {self._stamp(second)}"

    def _stamp(self, name: str) -> str:
        if name not in self.images:
            raise FgsnError(f"there is no image '{name}'")
        try:
            status = self.images[name].stat()
        except OSError as error:
            raise FgsnError(f"cannot read {self.images[name]}: {error.strerror}") from None
        return f"{status.st_size}-{status.st_mtime_ns}"


def _extract_one(features: Features, name: str) -> str:
    try:
        features[name]
    except FgsnError as error:
        return str(error)
    return ""


def _match_one(features: Features, a: str, b: str) -> str:
    try:
        features.match(a, b)
    except FgsnError as error:
        return str(error)
    return ""


def _rebuilt(images: dict[str, Path], name: str, keypoints: int, device: str, folder: Path, longest: int) -> Features:
    """In another process: each of them has one matcher, and one thread."""
    return Features(images, _matcher_here(name, keypoints, device), folder, longest)


@lru_cache(1)
def _matcher_here(name: str, keypoints: int, device: str) -> Matcher:
    import torch

    torch.set_num_threads(1)
    return make_matcher(name, keypoints, device)


def write_matches(path: Path, a: str, b: str, count: int, matches: Matches, stamp: str = "") -> None:
    """Write the matches of a pair as hloc does; whole or not at all.

    Args:
        path: the h5 file.
        a: name of the first image.
        b: name of the second image.
        count: how many features the first image has.
        matches: rows of both, and scores.
        stamp: kept as an attribute.
    """
    rows, scores = matches
    partner, certainty = np.full(count, -1, np.int32), np.zeros(count, np.float32)
    partner[rows[:, 0]], certainty[rows[:, 0]] = rows[:, 1], scores
    with atomic_write(path) as aside, h5py.File(aside, "w") as file:
        file.attrs["stamp"] = stamp
        group = file.create_group(_pair(a, b))
        group["matches0"], group["matching_scores0"] = partner, certainty


def read_matches(path: Path, a: str, b: str, stamp: str | None = None) -> Matches | None:
    """Read the matches of a pair out of hloc's matches.h5, or a file of `write_matches`.

    Returns:
        Rows of both images and scores; None if the file does not exist, has another stamp, or lacks the pair.

    Raises:
        FgsnError: the file is broken or has another layout.
    """
    if not path.exists():
        return None
    try:
        with h5py.File(path) as file:
            if _pair(a, b) not in file or (stamp is not None and file.attrs.get("stamp") != stamp):
                return None
            partner = stored_array(file, f"{_pair(a, b)}/matches0").astype(np.int64)
            scores = stored_array(file, f"{_pair(a, b)}/matching_scores0").astype(np.float32)
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError, ValueError, FgsnError) as error:
        raise FgsnError(f"{path} holds no matches in hloc's layout: {error}") from None
    if partner.ndim != 1 or partner.shape != scores.shape:
        raise FgsnError(f"{path} holds matches of shape {partner.shape} with scores of shape {scores.shape}")
    rows = np.nonzero(partner >= 0)[0]
    return np.stack([rows, partner[rows]], axis=1), scores[rows]


def _pair(a: str, b: str) -> str:
    return "/".join(name.replace("/", "-") for name in (a, b))
