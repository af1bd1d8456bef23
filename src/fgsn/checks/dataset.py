"""Find what is wrong with a data set: its images, its correspondences, and the lists that `fgsn prepare` writes."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.checks.correspondences import check_correspondences
from fgsn.checks.problems import failure, limited
from fgsn.config import CheckSettings
from fgsn.data.correspondences import Correspondences, spread
from fgsn.data.dataset import REFERENCE_LIST, REFERENCE_POINTS, TRAIN_LIST, VALIDATION_LIST, Dataset
from fgsn.data.images import equal_files, image_size, read_image, walk_images
from fgsn.data.labelled import annotated_set
from fgsn.data.motion import LEAST_MOTION, PointMotion
from fgsn.data.pair_files import PairFile, read_pair_files
from fgsn.errors import FgsnError
from fgsn.files import read_lines
from fgsn.progress import tracked

FEWEST_POINTS = 20
LEAST_SPREAD = 0.25
"""Share of the parts of an image that must contain points; real images of snow come down to it."""


def check_dataset(dataset: Dataset, settings: CheckSettings) -> dict[str, Any]:
    """Counts of what the data set contains; a line per problem under `problems`, per doubt under `warnings`.

    See `fgsn.checks.check`.
    """
    files = walk_images(dataset.images)
    sizes, problems = _image_sizes(dataset, files)
    problems += limited(_broken_images([file for file in files if dataset.name(file) in sizes], settings.decode))
    problems += limited(
        f"these images are the same file: {', '.join(dataset.name(file) for file in same)}"
        for same in equal_files(files)
    )
    motion = PointMotion()
    pairs, pair_problems = _check_pairs(dataset, sizes, motion)
    problems += pair_problems
    problems += limited(_list_problems(dataset, pairs))
    problems += _annotation_problems(dataset)
    metrics, suspects = check_correspondences(dataset, settings.pictures, settings.pairs, settings.seed)
    problems += limited(suspects)
    return {
        "kind": "data set",
        "images": len(files),
        "conditions": len({dataset.condition(file) for file in files}),
        "pairs": len(pairs),
        "points": sum(pair.points for pair in pairs),
        **motion.metrics(),
        **metrics,
        "warnings": _motion_warnings(motion.metrics()["motion_median_percent"]),
        "problems": problems,
    }


def _image_sizes(dataset: Dataset, files: list[Path]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    sizes, problems = {}, []
    for file in tracked(files, "image sizes", len(files), unit=" images"):
        try:
            sizes[dataset.name(file)] = image_size(file)
        except FgsnError as error:
            problems.append(str(error))
    if not files:
        problems.append(f"{dataset.images} contains no images")
    return sizes, limited(problems)


def _broken_images(files: list[Path], decode: int) -> Iterator[str]:
    """Decode images spread evenly over the data set: a truncated file still has a readable size."""
    count = min(decode or len(files), len(files))
    chosen = [files[round(position)] for position in np.linspace(0, len(files) - 1, count)]
    for file in tracked(chosen, "decoding images", count, unit=" images"):
        if problem := failure(lambda file=file: read_image(file)):
            yield problem


def _check_pairs(
    dataset: Dataset, sizes: dict[str, tuple[int, int]], motion: PointMotion
) -> tuple[list[PairFile], list[str]]:
    pairs, missing, broken, doubtful = [], [], [], []
    files: dict[tuple[tuple[str, str], str], list[str]] = defaultdict(list)  # by images and content
    for pair, found in read_pair_files(dataset, missing, broken):
        path = dataset.correspondence_data / pair.file
        doubtful += [f"{path}: {problem}" for problem in _pair_problems(found, pair.images, sizes)]
        if set(pair.images) <= sizes.keys():
            motion.add(found.points_ref, found.points_tgt, (sizes[pair.reference], sizes[pair.target]))
        content = hashlib.sha256(found.points_ref.tobytes() + found.points_tgt.tobytes()).hexdigest()
        files[pair.images, content].append(pair.file)
        pairs.append(pair)
    if not dataset.correspondence_files():
        broken.append(f"{dataset.correspondence_data} contains no .mat files")
    repeated = [same for same in files.values() if len(same) > 1]
    lines = [f"these files contain the same correspondences: {', '.join(same)}" for same in repeated]
    return pairs, [line for kind in (missing, broken, doubtful, lines) for line in limited(kind)]


def _motion_warnings(median: float | None) -> list[str]:
    """Points that hardly move: no reason not to train, but one to read the metrics with care."""
    if median is None or median >= LEAST_MOTION:
        return []
    return [
        f"half of the points move by at most {median:.1f} % of the image width between the two images: such a set "
        "cannot teach viewpoint, and same-view metrics on it mean little; --moved-pairs of fgsn world and fgsn "
        "correspond (with maps, poses or --reconstruct) adds pairs from before and behind"
    ]


def _pair_problems(pair: Correspondences, images: tuple[str, str], sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    count = len(pair.weights)
    if images[0] == images[1]:
        yield f"both images are {images[0]}"
    if count < FEWEST_POINTS:
        yield f"only {count} correspondences, fewer than {FEWEST_POINTS}"
    for name, points, key in zip(images, (pair.points_ref, pair.points_tgt), ("pt_i", "pt_j"), strict=True):
        if name not in sizes:
            continue  # already reported as an image
        size = np.array(sizes[name])
        # A pixel extends half a pixel to either side of its centre.
        outside = np.any((points < -0.5) | (points > size - 0.5), axis=1)
        if outside.any():
            yield f"{outside.sum()} of {count} points of {key} lie outside {name} ({size[0]} x {size[1]})"
        if count >= FEWEST_POINTS and spread(points[~outside], sizes[name]) < LEAST_SPREAD:
            yield f"all points of {key} lie in a small part of {name}"


def _list_problems(dataset: Dataset, pairs: list[PairFile]) -> Iterator[str]:
    """Whether the lists of `fgsn prepare` exist, match the files, and are disjoint."""
    lists = {}
    for name in (TRAIN_LIST, VALIDATION_LIST, REFERENCE_LIST):
        if problem := failure(lambda name=name: lists.update({name: read_lines(dataset.root / name)})):
            yield f"{problem}; run fgsn prepare {dataset.root}"
    if len(lists) < 3:
        return
    by_file = {pair.file: pair for pair in pairs}
    present = {path.name for path in dataset.correspondence_files()}
    for name in (TRAIN_LIST, VALIDATION_LIST):
        for line, times in Counter(lists[name]).items():
            if times > 1:
                yield f"{dataset.root / name} lists {line} {times} times"
            if line not in present:
                yield f"{dataset.root / name} lists {line}, which is not in correspondence_data/"
    training, validation = (
        [by_file[line] for line in dict.fromkeys(lists[name]) if line in by_file]
        for name in (TRAIN_LIST, VALIDATION_LIST)
    )
    if not validation:
        yield f"{dataset.root / VALIDATION_LIST} lists no pair that can be read"
    for file in sorted({pair.file for pair in training} & {pair.file for pair in validation}):
        yield f"{file} is in {TRAIN_LIST} and in {VALIDATION_LIST}"
    held_out = _places(dataset, validation)
    for place in sorted(_places(dataset, training) & held_out):  # would make validation metrics too good
        yield f"place {place} is on both sides of the split; run fgsn prepare {dataset.root} again"
    listed = {*lists[TRAIN_LIST], *lists[VALIDATION_LIST]}
    for pair in pairs:
        left_out = pair.points == 0 or held_out & _places(dataset, [pair]) or pair.file in dataset.moved_pairs
        if pair.file not in listed and not left_out:
            yield f"{pair.file} is in neither list; run fgsn prepare {dataset.root} again"
    references = {pair.images[0] for pair in training}
    unknown = references - set(lists[REFERENCE_LIST])
    all_read = set(lists[TRAIN_LIST]) <= by_file.keys()
    if unknown or (all_read and references != set(lists[REFERENCE_LIST])):
        yield f"{dataset.root / REFERENCE_LIST} does not match {TRAIN_LIST}; run fgsn prepare {dataset.root} again"
    elif (dataset.root / REFERENCE_POINTS).is_file():
        for name in sorted(references):
            if problem := failure(lambda name=name: dataset.reference_points(name)):
                yield problem
    else:
        yield f"{dataset.root / REFERENCE_POINTS} does not exist; run fgsn prepare {dataset.root}"


def _annotation_problems(dataset: Dataset) -> Iterator[str]:
    """Annotated images without label maps, and label maps without images."""
    for folder in sorted(dataset.root.glob("segmented_images/*/")):
        if problem := failure(lambda folder=folder: annotated_set(dataset.root, [folder.name])):
            yield problem


def _places(dataset: Dataset, pairs: list[PairFile]) -> set[str]:
    """The places that pairs show."""
    return {dataset.place(image) for pair in pairs for image in pair.images}
