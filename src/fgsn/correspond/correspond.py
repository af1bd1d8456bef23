"""fgsn correspond: make a data set with correspondences from images, COLMAP models, or depth maps with poses."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fgsn.config import CorrespondSettings, PrepareSettings
from fgsn.correspond.by_position import by_position
from fgsn.correspond.depth_maps import DepthMaps
from fgsn.correspond.from_depth import from_depth
from fgsn.correspond.from_model import from_model
from fgsn.correspond.inputs import only, read_map, read_poses, require_sizes
from fgsn.correspond.same_frame import check_frames, check_reading
from fgsn.correspond.views import condition_of, require_conditions, rows_by_condition
from fgsn.correspond.write import PAIRS, REFUSED, PairWriter, link_images
from fgsn.correspond.write_map import DatasetMap, write_map
from fgsn.data.completed import completed_results
from fgsn.data.dataset import MOVED_LIST, metres_per_unit, named_condition
from fgsn.data.images import equal_files, image_size, unread_images, walk_images
from fgsn.data.prepare import prepare
from fgsn.errors import CannotWriteError, FgsnError, nearest
from fgsn.files import FolderLock, read_yaml, write_json, write_yaml
from fgsn.geometry.posed import join
from fgsn.matching.pair import PairResult
from fgsn.processes import Workers
from fgsn.progress import say, tracked

WORK = "work"
"""Folder in the data set that keeps features and matches, so that an interrupted run resumes."""
GIVEN = "as given by the user"
_FREE = ("out", "device", "workers", "validation_share", "split", "metres_per_unit")
"""Settings that do not change the correspondences."""


def correspond(settings: CorrespondSettings) -> dict[str, Any]:
    """Find correspondences between a reference condition and the others, and write them as a prepared data set.

    Returns:
        Counts and metrics per condition; under `doubts`, warnings; under `failed`, images that cannot be read.

    Raises:
        FgsnError: there is only one condition, no pair is reliable, or an input is missing or broken.
    """
    made_with = {key: value for key, value in settings.as_dict().items() if key not in _FREE}
    results = completed_results(
        settings.out, made_with, "data set with correspondences", spare=[WORK, PAIRS, REFUSED, MOVED_LIST]
    )
    if results is None:
        results = _make(settings, made_with)
    prepared, doubts = _prepared(settings)
    kept = ("train_pairs", "moved_pairs", "validation_pairs", "left_out_pairs", "places", "places_from")
    results = {**results, "doubts": results["doubts"] + doubts, **{key: prepared[key] for key in kept}}
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    if settings.metres_per_unit is not None and settings.metres_per_unit != metres_per_unit(settings.out):
        described = settings.out / "dataset.yaml"
        write_yaml(described, read_yaml(described) | {"metres_per_unit": settings.metres_per_unit})
    for doubt in results["doubts"]:
        say(f"fgsn: {doubt}")
    return results


def _prepared(settings: CorrespondSettings) -> tuple[dict[str, Any], list[str]]:
    """Split the data set by place; where all pairs are connected, keep all for training, with a warning."""
    split = {"dataset": settings.out, "split": settings.split, "seed": settings.seed}
    try:
        return prepare(PrepareSettings(**split, validation_share=settings.validation_share)), []
    except FgsnError as error:
        if not settings.validation_share or isinstance(error, CannotWriteError):
            raise
    doubt = "all pairs show the same place, so none is kept for validation; a smaller --per-condition may separate them"
    return prepare(PrepareSettings(**split, validation_share=0.0)), [doubt]


def _make(settings: CorrespondSettings, made_with: dict[str, Any]) -> dict[str, Any]:
    sizes, failed = _images(settings.images)
    failed += unread_images(settings.images)
    conditions = require_two_conditions(settings.images, sizes, settings.reference, failed)
    writer = PairWriter(settings.out, sizes)
    doubts = _copies(settings.images, sizes)
    with Workers(settings.workers) as workers:
        found_map, found = _find_pairs(settings, sizes, workers, failed, doubts)
        first = next(found, None)  # so that wrong input is reported before the folder belongs to these settings
        _lock = FolderLock(settings.out).require()
        write_yaml(settings.out / "config.yaml", settings.as_dict())
        writer.write(itertools.chain([] if first is None else [first], found))
    results = writer.results(sum(condition_of(name) == settings.reference for name in sizes)) | {"failed": failed}
    results["doubts"] += doubts
    if settings.moved_pairs and not any(row["moved"] for row in writer.rows):
        results["doubts"].append("no image from before or behind shows the points of a reference image (--moved-pairs)")
    if not writer.rows:
        (settings.out / "config.yaml").unlink()  # allow another run with other settings
        reasons = "; ".join(f"{reason} ({count} x)" for reason, count in writer.refusals().items())
        raise FgsnError(
            f"no pair of images of {settings.images} has reliable correspondences: "
            f"{reasons or 'there are no pairs to match'}{_unread(failed)}; "
            "list pairs that show one place with --pairs, or take a more thorough --matcher"
        )
    link_images(settings.images, settings.out, conditions)
    if found_map:
        write_map(settings.out, found_map, settings.reference)
    description = {
        "name": settings.out.resolve().name,
        "reference": settings.reference,
        "conditions": [condition for condition in conditions if condition != settings.reference],
        # Only images whose names would give another condition.
        "condition_of": {name: condition_of(name) for name in sizes if named_condition(name) != condition_of(name)},
        "made_with": made_with,
        "results": results,
    }
    write_yaml(settings.out / "dataset.yaml", description)
    return results


def image_names(root: Path) -> list[str]:
    """Names of the images in the subfolders of `root`, relative to it; FgsnError if there are none."""
    if not root.is_dir():
        raise FgsnError(f"{root} is not a folder; give a folder with a subfolder of images per condition")
    files = [file for file in walk_images(root) if file.parent != root]
    if not files:
        raise FgsnError(f"{root} has no subfolders with images; put the images of every condition in its own subfolder")
    return [file.relative_to(root).as_posix() for file in files]


def require_two_conditions(root: Path, names: Iterable[str], reference: str, failed: Sequence[str] = ()) -> list[str]:
    """The conditions of images, given by their names relative to `root`, in order.

    `failed` are errors of images that cannot be read and are not among the names. Raises FgsnError if the reference is
    not among the conditions, or is the only one.
    """
    conditions = sorted({condition_of(name) for name in names})
    if reference not in conditions:
        others = (
            f"its subfolders with images: {', '.join(conditions)}" if conditions else "none of its images can be read"
        )
        if root.name == reference:
            others += f"; did you mean the folder above, {root.parent}?"
        raise FgsnError(f"{root} has no images of the reference condition '{reference}'; {others}{_unread(failed)}")
    if len(conditions) < 2:
        folders = sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
        empty = "".join(f"; {name}/ has no images that can be read" for name in folders if name not in conditions)
        raise FgsnError(
            f"{root} contains only one condition, {conditions[0]}{empty}; correspondences need two: "
            f"put the images of every condition in its own subfolder{_unread(failed)}"
        )
    return conditions


def _unread(failed: Sequence[str]) -> str:
    """End of a message: why images are not among those that count."""
    more = f" (and {len(failed) - 1} more such lines)" if len(failed) > 1 else ""
    return f"; not read: {failed[0]}{more}" if failed else ""


def _copies(root: Path, names: Iterable[str]) -> list[str]:
    """A line about photographs that are the same file in two conditions, if there are any."""
    groups = [[file.relative_to(root).as_posix() for file in same] for same in equal_files(root / n for n in names)]
    across = [same for same in groups if len({condition_of(name) for name in same}) > 1]
    if not across:
        return []
    first = " and ".join(across[0][:2])
    return [
        f"{len(across)} photographs are the same file in several conditions, which teaches nothing about a change "
        f"and flatters every metric; remove the copies, first: {first}"
    ]


def _images(root: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Width and height of every image in the subfolders of `root` by its name, and errors of unreadable images."""
    sizes, failed, names = {}, [], image_names(root)
    for name in tracked(names, "images", len(names)):
        try:
            sizes[name] = image_size(root / name)
        except FgsnError as error:
            failed.append(str(error))
    return sizes, failed


def _find_pairs(
    settings: CorrespondSettings,
    sizes: Mapping[str, tuple[int, int]],
    workers: Workers,
    failed: list[str],
    doubts: list[str],
) -> tuple[DatasetMap | None, Iterator[PairResult]]:
    """The map of all images if there is one, and the pairs, from the source given in the settings."""
    reference, points = settings.reference, settings.points
    each = (settings.per_condition, settings.moved_pairs)
    if len(settings.maps) == 1 and "=" not in settings.maps[0]:
        model = read_map(Path(settings.maps[0]), sizes)
        return DatasetMap(model, model, GIVEN), from_model(model, reference, points, *each)
    if settings.maps:
        from fgsn.correspond.from_images import open_features

        conditions = {condition_of(name) for name in sizes}
        for name in (one.partition("=")[0] for one in settings.maps):
            if name not in conditions:
                raise FgsnError(f"--maps {name}=…: no images have this condition; {nearest(name, conditions)}")
        maps = {name: read_map(Path(path), sizes, name) for name, path in (one.split("=", 1) for one in settings.maps)}
        require_conditions(maps, reference)
        features = open_features(settings, sizes, settings.out / WORK, workers)
        displaced, found = check_frames(maps, features, reference, settings.trust_poses)
        doubts += found
        whole = DatasetMap(join(list(maps.values())), maps[reference], GIVEN)
        return whole, by_position(maps, reference, points, *each, displaced)
    posed, source = None, ""
    if settings.poses:
        posed = read_poses(settings.poses, settings.intrinsics, sizes)
        source = ", ".join(map(str, settings.poses))
        require_sizes(posed, sizes, source)
        if settings.depth:
            depth_maps = DepthMaps(settings.depth, settings.depth_unit)
            return DatasetMap(posed, None, GIVEN), from_depth(posed, depth_maps, reference, points, *each)

    # These import torch.
    from fgsn.correspond.from_images import ImageCollection, from_images, from_reconstruction, open_features

    features = open_features(settings, sizes, settings.out / WORK, workers)
    images = ImageCollection(settings, features, sizes, failed)
    if posed:
        known = only(posed, [row for row, name in enumerate(posed.names) if name in images.names])
        rows = rows_by_condition(known.names)
        require_conditions(rows, reference)
        neighbours = images.same_condition_pairs(known.names)
        images.features.match_all(neighbours)
        check_reading(known, images.features, neighbours, source)
        maps = {name: images.triangulate(only(known, those)) for name, those in rows.items()}
        displaced, found = check_frames(maps, images.features, reference, settings.trust_poses)
        doubts += found
        return DatasetMap(posed, maps[reference], GIVEN), by_position(maps, reference, points, *each, displaced)
    if settings.reconstruct:
        models, found = from_reconstruction(images)
        origin = "from one model of all images, so they are not independent ground truth"
        return DatasetMap(models[0], models[0], origin), found
    return None, from_images(images)
