"""A labelled map on disk: a folder with map.safetensors, which contains everything, and map.json, a summary.

Nothing in it is ever unpickled or executed.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fgsn.config import LocalizeSettings, TrackSettings
from fgsn.errors import FgsnError, UsageError
from fgsn.files import atomic_write, write_json
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.geometry.visibility import Visibility
from fgsn.localization.label_histograms import LabelHistograms
from fgsn.localization.labelled_map import LabelledMap, make_labelled_map, observed_labels

ARRAYS, FACTS = "map.safetensors", "map.json"
VERSION = 1
_KEY = "fgsn-map"
_SHAPES: dict[str, tuple[str, type, tuple[int, ...]]] = {
    "camera_of": ("N", np.int64, ()), "rotation": ("N", np.float64, (3, 3)), "translation": ("N", np.float64, (3,)),
    "points": ("M", np.float64, (3,)), "colours": ("M", np.uint8, (3,)), "labels": ("M", np.int32, ()),
    "confidence": ("M", np.float32, ()), "observations": ("M", np.int32, ()), "nearest": ("M", np.float32, ()),
    "farthest": ("M", np.float32, ()), "axis": ("M", np.float32, (3,)), "half_angle": ("M", np.float32, ()),
    "track_point": ("T", np.int64, ()), "track_image": ("T", np.int64, ()), "track_pixels": ("T", np.float64, (2,)),
    "track_labels": ("T", np.int32, ()),
}  # fmt: skip
"""Number of rows, type and further dimensions of every array: N images, M points, T observations."""
_HISTOGRAMS = {"first": np.int64, "labels": np.uint16, "sums": np.float32}
"""Types of the arrays of the label histograms, which maps of an older fgsn lack."""


def save_map(folder: Path | str, labelled: LabelledMap) -> None:
    """Write a map folder, each file atomically.

    Raises:
        FgsnError: the folder cannot be written.
    """
    folder = Path(folder)
    pose = labelled.camera_from_world
    given = vars(labelled) | vars(labelled.visibility) | {"rotation": pose.rotation, "translation": pose.translation}
    arrays = {name: np.ascontiguousarray(given[name], kind) for name, (_, kind, _) in _SHAPES.items()}
    if labelled.stationary is not None:
        arrays["stationary"] = np.ascontiguousarray(labelled.stationary, np.uint8)
    if labelled.histograms is not None:
        arrays |= {f"histogram_{name}": getattr(labelled.histograms, name) for name in _HISTOGRAMS}
    header = {
        "version": VERSION,
        "clusters": labelled.clusters,
        "label_window": None if labelled.histograms is None else labelled.histograms.window,
        "names": labelled.names,
        "cameras": [
            {"model": camera.model, "width": camera.width, "height": camera.height, "parameters": camera.parameters}
            for camera in labelled.cameras
        ],
    }
    with atomic_write(folder / ARRAYS) as aside:
        aside.write_bytes(save(arrays, {_KEY: json.dumps(header)}))
    write_json(folder / FACTS, map_facts(labelled))


def map_facts(labelled: LabelledMap) -> dict[str, Any]:
    """A summary of a map, as numbers."""
    has_label = labelled.labels >= 0
    seen = labelled.observations > 0
    return {
        "images": len(labelled.names),
        "points": len(labelled.points),
        "observations": len(labelled.track_point),
        "clusters": labelled.clusters,
        "points_with_label": int(has_label.sum()),
        "points_seen_once": int((labelled.observations == 1).sum()),
        "labels_used": len(np.unique(labelled.labels[has_label])),
        "mean_confidence": round(float(labelled.confidence[has_label].mean()), 4) if has_label.any() else None,
        "median_half_angle_degrees": (
            round(float(np.degrees(np.median(labelled.visibility.half_angle[seen]))), 2) if seen.any() else None
        ),
        "stationary_labels": None if labelled.stationary is None else int(labelled.stationary.sum()),
    }


def load_map(folder: Path | str) -> LabelledMap:
    """Read a map folder.

    Raises:
        FgsnError: there is no map, it is damaged, or it was written by a newer fgsn.
    """
    path = Path(folder) / ARRAYS
    if not path.is_file():
        raise FgsnError(f"{folder} is not a map folder: it contains no {ARRAYS}")
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            if header["version"] > VERSION:
                raise FgsnError("it was written by a newer fgsn; update fgsn to read it")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _assembled(header, arrays)
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror or error}") from None
    except FgsnError as error:  # such as a camera with an unknown model
        raise FgsnError(f"cannot read {path}: {error}") from None
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise FgsnError(f"{path} is damaged, or not a map of fgsn; export it again") from None


def _assembled(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LabelledMap:
    """The map, if everything fits together; otherwise raises what `load_map` catches."""
    names, clusters = [str(name) for name in header["names"]], int(header["clusters"])
    cameras = [
        Camera.from_parameters(int(one["width"]), int(one["height"]), one["parameters"], str(one["model"]))
        for one in header["cameras"]
    ]
    rows = {"N": len(names), "M": len(arrays["points"]), "T": len(arrays["track_point"])}
    for name, (letter, kind, rest) in _SHAPES.items():
        if arrays[name].dtype != kind or arrays[name].shape != (rows[letter], *rest):
            raise ValueError(name)
    stationary = arrays.get("stationary")
    if stationary is not None and (stationary.dtype != np.uint8 or stationary.shape != (clusters,)):
        raise ValueError
    bounds = {"camera_of": (0, len(cameras)), "labels": (-1, clusters), "track_labels": (-1, clusters),
              "track_point": (0, rows["M"]), "track_image": (0, rows["N"])}  # fmt: skip
    for name, (low, high) in bounds.items():
        if arrays[name].size and not low <= arrays[name].min() <= arrays[name].max() < high:
            raise ValueError(name)
    if clusters < 0 or (np.diff(arrays["track_image"]) < 0).any():
        raise ValueError
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise ValueError
    window, histograms = header.get("label_window"), None
    if window is not None:
        histograms = LabelHistograms(float(window), **{name: arrays[f"histogram_{name}"] for name in _HISTOGRAMS})
        _check_histograms(histograms, rows["M"], clusters)
    given: dict[str, Any] = {name: arrays[name] for name in _SHAPES}
    return LabelledMap(
        names=names, cameras=cameras, camera_from_world=Pose(given.pop("rotation"), given.pop("translation")),
        visibility=Visibility(*(given.pop(name) for name in ("nearest", "farthest", "axis", "half_angle"))),
        clusters=clusters, stationary=None if stationary is None else stationary.astype(bool), histograms=histograms,
        **given,
    )  # fmt: skip


def _check_histograms(found: LabelHistograms, points: int, clusters: int) -> None:
    if any(getattr(found, name).dtype != kind for name, kind in _HISTOGRAMS.items()):
        raise ValueError
    if found.first.shape != (points + 1,) or found.first[0] != 0 or (np.diff(found.first) < 0).any():
        raise ValueError
    if not found.labels.shape == found.sums.shape == (found.first[-1],) or (found.labels >= clusters).any():
        raise ValueError
    if (found.sums < 0).any():
        raise ValueError


def check_map(settings: LocalizeSettings | TrackSettings) -> None:
    """Refuse settings that do not fit what --map is, before any work.

    Raises:
        UsageError: a map folder cannot be used here, or label maps of the map's images are required.
    """
    is_folder = (settings.map / ARRAYS).is_file()
    if not is_folder and (settings.map / "map" / ARRAYS).is_file():
        raise UsageError(f"--map {settings.map} contains a map folder: give {settings.map / 'map'}")
    if isinstance(settings, TrackSettings):
        if settings.map_labels is None and not is_folder:
            raise UsageError(f"--map-labels is required: {settings.map} is not a map folder")
        return
    if is_folder and settings.images is not None:
        raise UsageError(f"{settings.map} is a map folder, without images: give --hloc, or a COLMAP model as --map")
    if settings.method != "p3p" and settings.map_labels is None and not is_folder:
        raise UsageError(f"--method {settings.method} requires --map-labels and --query-labels")


def open_labelled_map(
    path: Path,
    label_maps: Path | None,
    stationary: NDArray[np.bool_] | None = None,
    label_window: float | None = None,
) -> LabelledMap:
    """The labelled map in a folder of `save_map`, or one made of a COLMAP model and label maps.

    Args:
        path: map folder, or COLMAP model.
        label_maps: of the model's images; for a map folder only used if it lacks histograms of this window.
        stationary: see `make_labelled_map`; by default those of the map folder.
        label_window: see `make_labelled_map`.

    Raises:
        FgsnError: the map or a label map cannot be read, or the flags do not fit the labels.
        UsageError: the map folder lacks the histograms, and there are no label maps.
    """
    if not (path / ARRAYS).is_file():
        return make_labelled_map(read_model(path), label_maps, stationary, label_window=label_window)
    labelled = load_map(path)
    if label_window is None:
        labelled = replace(labelled, histograms=None)
    elif labelled.histograms is None or labelled.histograms.window != label_window:
        if label_maps is None:
            raise UsageError(f"{path} has no label histograms for --label-window {label_window:g}: give --map-labels")
        count, _, histograms = observed_labels(labelled, label_maps, label_window)
        if count != labelled.clusters:
            raise FgsnError(f"{path} has {labelled.clusters} labels, but the label maps in {label_maps} {count}")
        labelled = replace(labelled, histograms=histograms)
    if stationary is None:
        return labelled
    if len(stationary) != labelled.clusters:
        raise FgsnError(
            f"{path} has {labelled.clusters} labels, but the model {len(stationary)}; use one model for both"
        )
    return replace(labelled, stationary=stationary)
