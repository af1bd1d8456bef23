"""Prepare a data set for training: split it by place, list its reference images and their key points.

The split is by place, never by file: all pairs of one place are on the same side, so validation pairs show streets that
training has not seen. Pairs that join neighbouring places (`Dataset.moved_pairs`) are for training only, and do not
change the split of the others.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from fgsn.config import PrepareSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import (
    MOVED_LIST,
    PLACES,
    REFERENCE_LIST,
    REFERENCE_POINTS,
    TRAIN_LIST,
    VALIDATION_LIST,
    Dataset,
)
from fgsn.data.pair_files import PairFile, read_pair_files
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, natural_order, write_json, write_text, write_yaml
from fgsn.formats.hdf5 import written
from fgsn.progress import say, tracked


def prepare(settings: PrepareSettings) -> dict[str, Any]:
    """Split a data set by place, list its reference images, and collect their key points.

    Writes into the data set: corr_train.txt, corr_val.txt, reference_image_names.txt, reference_points.h5, places.json,
    results.json and config.yaml.

    Returns:
        Counts of pairs, places, conditions and points; under `failed`, lines that explain what cannot be used.

    Raises:
        FgsnError: the folder is not a data set, or none of its pairs can be used; nothing is written then.
    """
    dataset = Dataset.open(settings.dataset)
    missing, broken = [], []
    pairs = [pair for pair, _ in read_pair_files(dataset, missing, broken)]
    failed = missing + broken
    usable = [pair for pair in pairs if pair.points > 0]
    if not usable:
        why = "they contain no points" if pairs else "put the correspondence_*.mat of the data set there"
        raise FgsnError(
            f"no usable correspondence file in {dataset.correspondence_data}: {failed[0] if failed else why}"
        )
    same_place = [pair for pair in usable if pair.file not in dataset.moved_pairs]
    moved = [pair for pair in usable if pair.file in dataset.moved_pairs]
    if not same_place:
        raise FgsnError(f"{dataset.root / MOVED_LIST} lists all pairs that can be used; none shows one place twice")
    place_of, source = find_places(dataset, same_place)
    pairs_of = Counter(place_of(pair.reference) for pair in same_place)
    places = set(pairs_of)
    if settings.split == "end":
        _, held_out = split_end(places, settings.validation_share)
    else:
        # One place may have most of the pairs, as of a road where all images are connected: it is there to learn from.
        largest = [place for place, count in pairs_of.items() if 2 * count > len(same_place)]
        _, held_out = split_places(places, settings.validation_share, settings.seed, largest)
    training, validation = split_pairs(same_place, place_of, held_out)
    if not training:
        raise FgsnError(
            f"every pair in {dataset.root} shows a place that a validation pair also shows; "
            "try --split end, or --validation-share 0 to keep all pairs for training"
        )

    _warn_of_shares(settings, len(training), len(validation), len(places))
    moved = moved_for_training(moved, training, validation, place_of)
    training += moved

    _lock = FolderLock(dataset.root).require()
    # Without a training list while the lists change, an interrupted run leaves a data set that is not prepared.
    (dataset.root / TRAIN_LIST).unlink(missing_ok=True)
    key_points = write_reference_points(dataset, training)
    _write_list(dataset, REFERENCE_LIST, (pair.reference for pair in training))
    write_json(dataset.root / PLACES, {name: place_of(name) for name in sorted(_images(usable))})
    results = {
        "pairs": len(pairs),
        "train_pairs": len(training),
        "moved_pairs": len(moved),
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
    return results


def find_places(dataset: Dataset, pairs: Sequence[PairFile]) -> tuple[Callable[[str], str], str]:
    """The place that each image shows, as a function of its name; and where that comes from.

    dataset.yaml may define it; otherwise images connected by pairs show one place. Where that connects everything (the
    frames of a drive, each matched to its neighbours), every reference image is a place of its own.
    """
    if "places" in dataset.yaml:
        return dataset.place, "dataset.yaml"
    connected = connected_images(pairs)
    if len(set(connected.values())) > 1 or len({pair.reference for pair in pairs}) == 1:
        return lambda name: connected.get(name, name), "shared images"
    return lambda name: name, "reference images"


def connected_images(pairs: Sequence[PairFile]) -> dict[str, str]:
    """The connected components of images under pairs, by image; each is named after its first reference image by name.

    Reference images give the names, so that new target conditions do not rename places.
    """
    components = DisjointSet(image for pair in pairs for image in pair.images)
    for pair in pairs:
        components.merge(*pair.images)
    names: dict[str, str] = {}
    for reference in sorted({pair.reference for pair in pairs}):
        names.setdefault(components[reference], reference)
    return {image: names[components[image]] for image in components}


def split_places(
    places: Iterable[str], share: float, seed: int, kept: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Split places into training and validation, without replacement; repeated names count once.

    Places that are `kept` are for training, as long as there are others for validation.

    A pure function of the set of names, the share and the seed, on every machine; a larger share only adds places to
    the validation side. Returns names of training and of validation places, each sorted. Each side has at least one
    place if there are two; a single place is for training.
    """
    ranked = sorted(
        set(places), key=lambda name: (name in kept, hashlib.sha256(f"{seed}:{name}".encode()).digest(), name)
    )
    count = _validation_count(len(ranked), share)
    return sorted(ranked[count:]), sorted(ranked[:count])


def split_end(places: Iterable[str], share: float) -> tuple[list[str], list[str]]:
    """Split places so that the last in name order (numbers by value) are for validation.

    The right split for a drive along a road, where neighbouring places overlap: only those at the border have
    neighbours on both sides.
    """
    ordered = sorted(set(places), key=lambda name: (natural_order(name), name))
    count = len(ordered) - _validation_count(len(ordered), share)
    return sorted(ordered[:count]), sorted(ordered[count:])


def split_pairs(
    pairs: Sequence[PairFile], place_of: Callable[[str], str], held_out: Iterable[str]
) -> tuple[list[PairFile], list[PairFile]]:
    """Training and validation pairs; the place of a pair is that of its reference image.

    A pair of a training place that also shows the place of a validation pair, through its target or a shared image, is
    in neither.
    """
    held_out = set(held_out)
    validation = [pair for pair in pairs if place_of(pair.reference) in held_out]
    seen = {place_of(name) for name in _images(validation)}
    training = [pair for pair in pairs if seen.isdisjoint(map(place_of, pair.images))]
    return training, validation


def moved_for_training(
    moved: Sequence[PairFile],
    training: Sequence[PairFile],
    validation: Sequence[PairFile],
    place_of: Callable[[str], str],
) -> list[PairFile]:
    """The moved pairs that show training places only.

    An image that only moved pairs contain may stand close to any image that they join it with, so it must not be
    joined with the image of a validation place by any of them.
    """
    held_out = {place_of(name) for name in _images(validation)}
    border = {pair.file: pair for pair in moved if not held_out.isdisjoint(map(place_of, pair.images))}
    left_out = _images(border.values()) - _images(training)
    return [pair for pair in moved if pair.file not in border and left_out.isdisjoint(pair.images)]


def write_reference_points(dataset: Dataset, training: Iterable[PairFile]) -> int:
    """Write the key points of every reference image: those of all its training pairs, each once; returns how many."""
    files: Mapping[str, list[str]] = defaultdict(list)
    for pair in training:
        files[pair.reference].append(pair.file)
    total = 0
    with written(dataset.root / REFERENCE_POINTS) as output:
        for image in tracked(sorted(files), "collecting key points", len(files), unit=" images"):
            # Read again instead of kept: the points of a large data set do not fit into memory.
            every = [
                read_correspondences(dataset.correspondence_data / file, dataset.images).points_ref
                for file in files[image]
            ]
            points = np.unique(np.concatenate(every), axis=0)
            # The key is the whole relative path, since two cameras may use equal base names.
            output.create_dataset(image, data=points, track_times=False)
            total += len(points)
    return total


def _warn_of_shares(settings: PrepareSettings, training: int, validation: int, places: int) -> None:
    """Report a share of validation pairs far from the request: places differ in their numbers of pairs."""
    if settings.validation_share == 0:
        return
    if not validation:
        say(f"{settings.dataset} shows one place only, so there are no validation pairs")
    elif not 0.5 < validation / (training + validation) / settings.validation_share < 2:
        say(
            f"validation has {validation} of {training + validation} pairs, since places (here {places}) stay whole; "
            "change --seed or --validation-share for another split"
        )


def _validation_count(places: int, share: float) -> int:
    """Number of validation places: about the share, but never all or none of two or more; a share of 0 gives none."""
    return min(max(round(share * places), 1), places - 1) if places >= 2 and share else 0


def _images(pairs: Iterable[PairFile]) -> set[str]:
    return {image for pair in pairs for image in pair.images}


def _write_list(dataset: Dataset, name: str, lines: Iterable[str]) -> None:
    write_text(dataset.root / name, "".join(f"{line}\n" for line in sorted(set(lines))))
