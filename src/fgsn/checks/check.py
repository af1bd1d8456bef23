"""Say what is wrong with a data set, labelled images, a model or a run before hours are spent on it.

Every check is a generator of lines; a line names the file, what is wrong, and what to do where that is not obvious.
"""

import hashlib
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.checks.labelled_images import check_labelled
from fgsn.checks.pairs import look_at_pairs
from fgsn.config import CheckSettings
from fgsn.data.correspondences import Correspondences, missing_images, read_correspondences
from fgsn.data.dataset import REFERENCE_LIST, REFERENCE_POINTS, TRAIN_LIST, VALIDATION_LIST, Dataset
from fgsn.data.find_image import MissingImageError
from fgsn.data.images import image_size, read_image, walk_images
from fgsn.data.labelled import FORMATS, annotated_set
from fgsn.errors import FgsnError
from fgsn.files import read_json, read_lines, read_text, read_yaml
from fgsn.progress import tracked

FEWEST_POINTS = 20
GRID = 4
FEWEST_CELLS = 4
"""Of GRID x GRID cells of an image, how many must hold points; real images of snow come down to 4."""
MOST_LINES = 20
"""Lines shown of one kind of problem."""
RUN_FILES = ("model.safetensors", "metrics.jsonl", "config.yaml", "results.json")


def check(settings: CheckSettings) -> dict[str, Any]:
    """Look for what is wrong with a data set folder, a model file, a run folder or labelled images (FORMAT:PATH).

    Returns:
        Counts of what was looked at, and under `problems` one line for each thing that is wrong (empty: all is well).

    Raises:
        FgsnError: the path does not exist, or is none of these.
    """
    path = settings.path
    if not path.exists() and str(path).partition(":")[0] in FORMATS:
        results = check_labelled(str(path), settings.decode)
        return results | {"problems": _limited(results["problems"])}
    if path.is_file():
        return {"kind": "model", "problems": list(_model_problems(path))}
    if not path.is_dir():
        raise FgsnError(f"{path} does not exist")
    if (path / "images").is_dir() or (path / "correspondence_data").is_dir():
        return _check_dataset(Dataset.open(path), settings)
    if any((path / name).exists() for name in (*RUN_FILES, "checkpoints")):
        return {"kind": "run", "problems": list(_run_problems(path))}
    raise FgsnError(
        f"{path} is no data set (images/, correspondence_data/) and no run ({', '.join(RUN_FILES)}); "
        f"labelled images are given as FORMAT:PATH ({', '.join(sorted(FORMATS))})"
    )


@dataclass(frozen=True)
class _PairFacts:
    """What is kept of a correspondence file that could be read."""

    file: str
    images: tuple[str, str]
    points: int
    content: str


def _check_dataset(dataset: Dataset, settings: CheckSettings) -> dict[str, Any]:
    files = walk_images(dataset.images)
    sizes, problems = _image_sizes(dataset, files)
    problems += _limited(_broken_images([file for file in files if dataset.name(file) in sizes], settings.decode))
    problems += _limited(_equal_images(dataset, files))
    pairs, pair_problems = _check_pairs(dataset, sizes)
    problems += pair_problems
    problems += _limited(_repeated_pairs(pairs))
    problems += _limited(_list_problems(dataset, pairs))
    problems += _annotation_problems(dataset)
    metrics, suspects = look_at_pairs(dataset, settings.pictures, settings.pairs, settings.seed)
    problems += _limited(suspects)
    return {
        "kind": "data set",
        "images": len(files),
        "conditions": len({dataset.condition(file) for file in files}),
        "pairs": len(pairs),
        "points": sum(pair.points for pair in pairs),
        **metrics,
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
        problems.append(f"{dataset.images} holds no images")
    return sizes, _limited(problems)


def _broken_images(files: list[Path], decode: int) -> Iterator[str]:
    """Decode images spread evenly over the data set: a file that was cut off still shows its size."""
    count = min(decode or len(files), len(files))
    chosen = [files[round(position)] for position in np.linspace(0, len(files) - 1, count)]
    for file in tracked(chosen, "decoding images", count, unit=" images"):
        if problem := _failure(lambda file=file: read_image(file)):
            yield problem


def _equal_images(dataset: Dataset, files: list[Path]) -> Iterator[str]:
    """Images that are byte for byte the same under two names; only those of equal size are read."""
    for same_size in _groups(files, lambda file: file.stat().st_size):
        for same in _groups(same_size, lambda file: hashlib.sha256(file.read_bytes()).hexdigest()):
            yield f"these images are the same file: {', '.join(dataset.name(file) for file in same)}"


def _check_pairs(dataset: Dataset, sizes: dict[str, tuple[int, int]]) -> tuple[list[_PairFacts], list[str]]:
    pairs, unreadable, doubtful, waiting = [], [], [], False
    files = dataset.correspondence_files()
    for path in tracked(files, "correspondences", len(files), unit=" files"):
        try:
            pair = read_correspondences(path, dataset.images)
        except MissingImageError:
            waiting = True
            continue
        except FgsnError as error:
            unreadable.append(str(error))
            continue
        images = dataset.name(pair.reference), dataset.name(pair.target)
        doubtful += [f"{path}: {problem}" for problem in _pair_problems(pair, images, sizes)]
        content = hashlib.sha256(pair.points_ref.tobytes() + pair.points_tgt.tobytes()).hexdigest()
        pairs.append(_PairFacts(path.name, images, len(pair.weights), content))
    if not files:
        unreadable.append(f"{dataset.correspondence_data} holds no .mat files")
    missing = missing_images(files, dataset.images) if waiting else []
    return pairs, _limited(missing) + _limited(unreadable) + _limited(doubtful)


def _pair_problems(pair: Correspondences, images: tuple[str, str], sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    count = len(pair.weights)
    if images[0] == images[1]:
        yield f"both images are {images[0]}"
    if count < FEWEST_POINTS:
        yield f"only {count} correspondences, fewer than {FEWEST_POINTS}"
    for name, points, key in zip(images, (pair.points_ref, pair.points_tgt), ("pt_i", "pt_j"), strict=True):
        if name not in sizes:
            continue  # the image itself is reported already
        size = np.array(sizes[name])
        # A pixel reaches half a pixel to either side of its centre.
        outside = np.any((points < -0.5) | (points > size - 0.5), axis=1)
        if outside.any():
            yield f"{outside.sum()} of {count} points of {key} lie outside {name} ({size[0]} x {size[1]})"
        column, row = np.floor((points[~outside] + 0.5) / size * GRID).clip(0, GRID - 1).T
        if count >= FEWEST_POINTS and len(np.unique(row * GRID + column)) < FEWEST_CELLS:
            yield f"the points of {key} all lie in a small part of {name}"


def _repeated_pairs(pairs: list[_PairFacts]) -> Iterator[str]:
    for same in _groups(pairs, lambda pair: (pair.images, pair.content)):
        yield f"these files hold the same correspondences: {', '.join(pair.file for pair in same)}"


def _list_problems(dataset: Dataset, pairs: list[_PairFacts]) -> Iterator[str]:
    """The lists that `fgsn prepare` writes: there, about these files, and apart."""
    lists = {}
    for name in (TRAIN_LIST, VALIDATION_LIST, REFERENCE_LIST):
        if problem := _failure(lambda name=name: lists.update({name: read_lines(dataset.root / name)})):
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
    yield from _shared(dataset, training, validation)
    listed = {*lists[TRAIN_LIST], *lists[VALIDATION_LIST]}
    held_out = _places(dataset, validation)
    for pair in pairs:
        left_out = pair.points == 0 or held_out & _places(dataset, [pair])
        if pair.file not in listed and not left_out:
            yield f"{pair.file} is in neither list; run fgsn prepare {dataset.root} again"
    references = {pair.images[0] for pair in training}
    unknown = references - set(lists[REFERENCE_LIST])
    all_read = set(lists[TRAIN_LIST]) <= by_file.keys()
    if unknown or (all_read and references != set(lists[REFERENCE_LIST])):
        yield f"{dataset.root / REFERENCE_LIST} is not about the training pairs; run fgsn prepare {dataset.root} again"
    elif (dataset.root / REFERENCE_POINTS).is_file():
        for name in sorted(references):
            if problem := _failure(lambda name=name: dataset.reference_points(name)):
                yield problem
    else:
        yield f"{dataset.root / REFERENCE_POINTS} does not exist; run fgsn prepare {dataset.root}"


def _shared(dataset: Dataset, training: list[_PairFacts], validation: list[_PairFacts]) -> Iterator[str]:
    """Files and places that are in training and in validation: the validation would flatter."""
    for file in sorted({pair.file for pair in training} & {pair.file for pair in validation}):
        yield f"{file} is in {TRAIN_LIST} and in {VALIDATION_LIST}"
    for place in sorted(_places(dataset, training) & _places(dataset, validation)):
        yield f"place {place} is on both sides of the split; run fgsn prepare {dataset.root} again"


def _annotation_problems(dataset: Dataset) -> Iterator[str]:
    """Annotated images without label maps, and the other way round."""
    for folder in sorted(dataset.root.glob("segmented_images/*/")):
        if problem := _failure(lambda folder=folder: annotated_set(dataset.root, [folder.name])):
            yield problem


def _places(dataset: Dataset, pairs: list[_PairFacts]) -> set[str]:
    """The places that pairs show."""
    return {dataset.place(image) for pair in pairs for image in pair.images}


def _model_problems(path: Path) -> Iterator[str]:
    from fgsn.inference.model import load  # brings torch, which a data set can be checked without

    if problem := _failure(lambda: load(path)):
        yield problem


def _run_problems(run: Path) -> Iterator[str]:
    missing = [name for name in RUN_FILES if not (run / name).is_file()]
    if missing:
        advice = "; the run is not finished, --resume goes on" if (run / "checkpoints").is_dir() else ""
        yield f"{run} lacks {', '.join(missing)}{advice}"
    readers = {"metrics.jsonl": _read_metrics, "config.yaml": read_yaml, "results.json": read_json}
    for name, read in readers.items():
        if name not in missing and (problem := _failure(lambda name=name, read=read: read(run / name))):
            yield problem
    if "model.safetensors" not in missing:
        yield from _model_problems(run / "model.safetensors")


def _read_metrics(path: Path) -> None:
    """Raise FgsnError where a line is no JSON object or a figure is not finite."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            metrics = json.loads(line)
        except (ValueError, RecursionError):
            raise FgsnError(f"{path}, line {number} is not JSON") from None
        if not isinstance(metrics, dict):
            raise FgsnError(f"{path}, line {number} is not a JSON object")
        for key, value in metrics.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FgsnError(f"{path}, line {number}: {key} is {value}; the training has diverged")


def _failure(action: Callable[[], object]) -> str | None:
    """The line that an action fails with, None when it works."""
    try:
        action()
    except FgsnError as error:
        return str(error)
    return None


def _groups(items: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    """The items that share their key with another."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [group for group in groups.values() if len(group) > 1]


def _limited(lines: Iterable[str]) -> list[str]:
    """The first lines of one kind, and how many more there are."""
    lines = iter(lines)
    first = list(itertools.islice(lines, MOST_LINES))
    more = sum(1 for _ in lines)
    return [*first, f"... and {more} more like the last one"] if more else first
