"""Make a data set ready for training: split it by place, list its reference images and their key points.

The split is by place, never by file: two pairs of one place are on the same side, so that validation pairs show
streets that training has not seen.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from fgsn.config import PrepareSettings
from fgsn.data.correspondences import missing_images, read_correspondences
from fgsn.data.dataset import (
    PLACES,
    REFERENCE_LIST,
    REFERENCE_POINTS,
    TRAIN_LIST,
    VALIDATION_LIST,
    Dataset,
)
from fgsn.data.find_image import MissingImageError
from fgsn.errors import FgsnError
from fgsn.files import atomic_write, natural_order, write_json, write_text, write_yaml
from fgsn.progress import say, tracked


@dataclass(frozen=True)
class Pair:
    """One correspondence file: its own name, the names of its images, and how many points it holds."""

    file: str
    reference: str
    target: str
    points: int

    @property
    def images(self) -> tuple[str, str]:
        """Both images, reference first."""
        return self.reference, self.target


def prepare(settings: PrepareSettings) -> dict[str, Any]:
    """Split a data set by place, list its reference images, and gather their key points.

    Writes into the data set: corr_train.txt, corr_val.txt, reference_image_names.txt, reference_points.h5, places.json,
    results.json and config.yaml.

    Returns:
        Counts of pairs, places, conditions and points; under `failed`, lines that say what cannot be used.

    Raises:
        FgsnError: the folder is no data set, or no correspondence file in it can be used; then nothing is written.
    """
    dataset = Dataset.open(settings.dataset)
    pairs, failed = read_pairs(dataset)
    usable = [pair for pair in pairs if pair.points > 0]
    if not usable:
        why = "they hold no points" if pairs else "put the data set's correspondence_*.mat there"
        raise FgsnError(
            f"no usable correspondence file in {dataset.correspondence_data}: {failed[0] if failed else why}"
        )
    place_of, source = find_places(dataset, usable)
    places = {place_of(pair.reference) for pair in usable}
    if settings.split == "end":
        _, held_out = split_end(sorted(places), settings.validation_share)
    else:
        _, held_out = split_places(sorted(places), settings.validation_share, settings.seed)
    training, validation = divide(usable, place_of, held_out)
    if not training:
        raise FgsnError(
            f"every pair in {dataset.root} shows what a validation pair shows; "
            "try --split end, or --validation-share 0 to keep all pairs for training"
        )

    # While the lists change there is no training list, so an interrupted run leaves a data set that is not prepared.
    (dataset.root / TRAIN_LIST).unlink(missing_ok=True)
    key_points = write_reference_points(dataset, training)
    _write_list(dataset, REFERENCE_LIST, (pair.reference for pair in training))
    write_json(dataset.root / PLACES, {name: place_of(name) for name in sorted(_images(usable))})
    results = {
        "pairs": len(pairs),
        "train_pairs": len(training),
        "validation_pairs": len(validation),
        "left_out_pairs": len(usable) - len(training) - len(validation),
        "empty_pairs": len(pairs) - len(usable),
        "places": len(places),
        "validation_places": len(held_out),
        "places_from": source,
        "conditions": len({dataset.condition(name) for name in _images(usable)}),
        "images": len(_images(usable)),
        "reference_images": len({pair.reference for pair in training}),
        "reference_points": key_points,
        "points": sum(pair.points for pair in pairs),
        "failed": failed,
    }
    write_yaml(dataset.root / "config.yaml", settings.as_dict())
    write_json(dataset.root / "results.json", results)
    _write_list(dataset, VALIDATION_LIST, (pair.file for pair in validation))
    _write_list(dataset, TRAIN_LIST, (pair.file for pair in training))
    _warn_of_shares(settings, len(training), len(validation), len(places))
    return results


def read_pairs(dataset: Dataset) -> tuple[list[Pair], list[str]]:
    """Read every correspondence file once: the pairs, and what is wrong with the others.

    There is one line for each broken file, and one for each folder of images/ that lacks images.
    """
    pairs, failed, waiting = [], [], False
    files = dataset.correspondence_files()
    for path in tracked(files, "reading correspondences", len(files), unit=" files"):
        try:
            found = read_correspondences(path, dataset.images)
        except MissingImageError:
            waiting = True
            continue
        except FgsnError as error:
            failed.append(str(error))
            continue
        reference, target = dataset.name(found.reference), dataset.name(found.target)
        pairs.append(Pair(path.name, reference, target, len(found.weights)))
    return pairs, (missing_images(files, dataset.images) if waiting else []) + failed


def find_places(dataset: Dataset, pairs: Sequence[Pair]) -> tuple[Callable[[str], str], str]:
    """What place an image shows.

    dataset.yaml knows; without it, images tied by pairs show one place. Where that ties everything together (the frames
    of a drive, each matched to its neighbours), every reference image is a place of its own.

    Returns:
        A function from the name of an image to the name of its place, and where the places come from.
    """
    if "places" in dataset.yaml:
        return dataset.place, "dataset.yaml"
    tied = tie_images(pairs)
    if len(set(tied.values())) > 1 or len({pair.reference for pair in pairs}) == 1:
        return tied.__getitem__, "shared images"
    return lambda name: name, "reference images"


def tie_images(pairs: Iterable[Pair]) -> dict[str, str]:
    """The connected components of images under pairs, each named after its first reference image in name order.

    A reference image names the component, so that new target conditions do not rename places.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    names: dict[str, str] = {}
    pairs = list(pairs)
    for pair in pairs:
        parent[root(pair.target)] = root(pair.reference)
    for pair in pairs:
        component = root(pair.reference)
        names[component] = min(pair.reference, names.get(component, pair.reference))
    return {image: names[root(image)] for image in list(parent)}


def split_places(places: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split places into training and validation, without replacement.

    A pure function of the set of names, the share and the seed: order and machine do not matter, and a larger share
    only adds places to the validation side.

    Args:
        places: names of places; repeated ones count once.
        share: share of the places for validation, between 0 and 1.
        seed: another seed gives another split.

    Returns:
        Names of training and of validation places, each sorted. Both sides have one place at least when there are two;
        a single place is for training.
    """
    ranked = sorted(set(places), key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))
    count = _validation_count(len(ranked), share)
    return sorted(ranked[count:]), sorted(ranked[:count])


def split_end(places: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """Split places so that the last ones in name order (numbers by value) are for validation.

    Honest for a drive along a road, where neighbouring places overlap: only the border has neighbours on both sides.
    """
    ordered = sorted(set(places), key=lambda name: (natural_order(name), name))
    count = len(ordered) - _validation_count(len(ordered), share)
    return sorted(ordered[:count]), sorted(ordered[count:])


def divide(
    pairs: Sequence[Pair], place_of: Callable[[str], str], held_out: Iterable[str]
) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs; the place of a pair is that of its reference image.

    A pair of a training place that shows a place of a validation pair all the same, through its target or because they
    share an image, is in neither.
    """
    held_out = set(held_out)
    validation = [pair for pair in pairs if place_of(pair.reference) in held_out]
    seen = {place_of(name) for name in _images(validation)}
    training = [pair for pair in pairs if seen.isdisjoint(map(place_of, pair.images))]
    return training, validation


def write_reference_points(dataset: Dataset, training: Iterable[Pair]) -> int:
    """Write the key points of every reference image: the points of all its training pairs, each point once.

    Returns:
        How many points were written.
    """
    files: Mapping[str, list[str]] = defaultdict(list)
    for pair in training:
        files[pair.reference].append(pair.file)
    total = 0
    with (
        atomic_write(dataset.root / REFERENCE_POINTS) as aside,
        h5py.File(aside, "w", libver="earliest") as output,
    ):
        for image in tracked(sorted(files), "gathering key points", len(files), unit=" images"):
            # Read again rather than kept from before: all points of a large set do not fit into memory.
            every = [
                read_correspondences(dataset.correspondence_data / file, dataset.images).points_ref
                for file in files[image]
            ]
            points = np.unique(np.concatenate(every), axis=0)
            # The whole relative path is the key, so equal base names of two cameras stay apart.
            output.create_dataset(image, data=points, track_times=False)
            total += len(points)
    return total


def _warn_of_shares(settings: PrepareSettings, training: int, validation: int, places: int) -> None:
    """Places may hold unequal numbers of pairs, so the shares of pairs may be far from what was asked."""
    if settings.validation_share == 0:
        return
    if not validation:
        say(f"{settings.dataset} shows one place only, so there are no validation pairs")
    elif not 0.5 < validation / (training + validation) / settings.validation_share < 2:
        say(
            f"validation has {validation} of {training + validation} pairs, since places are whole and only {places}; "
            "another --seed or --validation-share changes that"
        )


def _validation_count(places: int, share: float) -> int:
    """How many of so many places are for validation: the share, but never all or none of two or more; 0 is none."""
    if share == 0:
        return 0
    return min(max(round(share * places), 1), places - 1) if places >= 2 else 0


def _images(pairs: Iterable[Pair]) -> set[str]:
    return {image for pair in pairs for image in pair.images}


def _write_list(dataset: Dataset, name: str, lines: Iterable[str]) -> None:
    write_text(dataset.root / name, "".join(f"{line}\n" for line in sorted(set(lines))))
