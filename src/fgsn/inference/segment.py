"""fgsn segment: label maps of an image, a folder or a list; finished images are skipped, broken ones listed."""

import os
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgsn import ranks
from fgsn.config import SegmentSettings
from fgsn.config.base import OnBadImage, flag
from fgsn.data.images import list_images, read_image
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, atomic_write, read_json, write_json, write_yaml
from fgsn.inference.label_maps import write_label_map
from fgsn.inference.model import Model, fingerprint, load
from fgsn.inference.overlays import overlay
from fgsn.inference.segmenter import Prediction, Segmenter
from fgsn.progress import Meter

ENDINGS = {"labels": ".png", "overlay": ".jpg", "features": ".npy", "scores": ".npy"}
MADE_FROM = "made_from.json"
THREADS = min(8, os.cpu_count() or 1)
"""Number of threads that read, and of threads that compute labels from scores and write them."""
WAITING_BYTES = 1 << 28
"""Limit for the scores and features that wait for the writing threads."""


def segment(settings: SegmentSettings) -> dict[str, Any]:
    """Write the outputs selected by `--save` for every image; returns counts, speed and the images that failed.

    Raises:
        FgsnError: model or images are missing, or the output folder contains label maps of another model.
    """
    with ranks.joined(settings.device):
        return _segment(settings)


def _segment(settings: SegmentSettings) -> dict[str, Any]:
    model = load(settings.model, settings.device)
    changes = {
        "short_side": settings.short_side,
        "window": settings.window or None,
        "tiling": settings.tiling,
    }
    model = replace(model, **{key: value for key, value in changes.items() if value is not None})
    segmenter = Segmenter(model, settings.precision, settings.memory, settings.batch)
    images = [pair for pair in list_images(settings.images) if not _written_by_us(pair[0], settings.out)]
    made_from: dict[str, Any] = {}
    if ranks.rank() == 0:
        lock = FolderLock(settings.out)
        alone = lock.lock_exclusively()
        if not alone:
            lock.lock_shared()  # after the other process has recorded its model
        made_from = _check_origin(settings, segmenter, alone)
        if alone:
            lock.lock_shared()
    ranks.gathered(None)  # no rank writes before the folder has been checked
    results = segment_images(segmenter, images, settings.out, settings.save, settings.overwrite, settings.on_bad_image)
    if ranks.rank() > 0:
        return results
    write_json(settings.out / MADE_FROM, made_from)
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results


def segment_images(
    segmenter: Segmenter,
    images: Sequence[tuple[Path, str]],
    out: Path,
    save: Collection[str],
    overwrite: bool = False,
    on_bad_image: OnBadImage = "skip",
) -> dict[str, Any]:
    """Write label maps and other outputs of many images; several ranks share the images.

    Args:
        segmenter: the model, its precision and batch size.
        images: image files and their names: relative paths, mirrored in the output.
        out: folder; each kind has a subfolder of its own: labels/, overlay/, features/, scores/.
        save: kinds to write: labels (PNG), overlay (JPEG), features and scores (NumPy, float16, at feature cells).
        overwrite: recompute existing outputs.
        on_bad_image: skip an image that cannot be read, or stop.

    Returns:
        Counts, seconds that the network waited for reading and writing, and one line per broken image under 'failed'.
    """
    outputs = _outputs(images, out, save)
    mine = ranks.share(images)
    todo = [pair for pair in mine if overwrite or not all(path.exists() for path in outputs[pair[1]].values())]
    failed: list[str] = []
    stop: list[FgsnError] = []
    seconds = {"read": 0.0, "write": 0.0}
    began = time.perf_counter()
    with (
        ThreadPoolExecutor(THREADS) as readers,
        ThreadPoolExecutor(THREADS) as writers,
        Meter("segment", len(todo)) as meter,
    ):

        def decoded() -> Iterator[tuple[str, np.ndarray]]:
            for name, reading in _read_ahead(readers, todo, segmenter.model.short_side):
                mark = time.perf_counter()
                try:
                    pixels = reading.result()
                except FgsnError as error:
                    if on_bad_image == "stop":
                        stop.append(error)
                        return  # earlier images are finished first
                    failed.append(str(error))
                    meter.step()
                    continue
                finally:
                    seconds["read"] += time.perf_counter() - mark
                yield name, pixels

        writing: deque[Future[None]] = deque()
        for image in segmenter.many(decoded(), save):
            mark = time.perf_counter()
            while len(writing) >= _room(image):
                writing.popleft().result()  # a full disk ends the run here
            writing.append(writers.submit(_write, segmenter.model, image, outputs[image.name]))
            seconds["write"] += time.perf_counter() - mark
            meter.step()
        while writing:
            writing.popleft().result()
    if stop:
        raise stop[0]
    shares = ranks.gathered((len(todo), failed))
    spent = time.perf_counter() - began
    failed = [line for _, lines in shares for line in lines]
    done = sum(count for count, _ in shares) - len(failed)
    return {
        "images": len(images),
        "segmented": done,
        "already_there": len(images) - done - len(failed),
        "seconds": round(spent, 2),
        "images_per_second": round(done / spent, 2) if done else None,
        "waiting_seconds": {key: round(value, 2) for key, value in seconds.items()},
        "failed": failed,
    }


def _room(image: Prediction) -> int:
    """How many images of this size may wait for the writing threads; at least one."""
    return max(1, min(THREADS, WAITING_BYTES // max(1, image.nbytes)))


def _write(model: Model, image: Prediction, paths: Mapping[str, Path]) -> None:
    """Write the files of an image."""
    labels = image.labels() if {"labels", "overlay"} & paths.keys() else np.empty((0, 0), np.int64)
    for kind, path in paths.items():
        if kind == "labels":
            write_label_map(path, labels, model.clusters, model.palette)
        elif kind == "overlay":
            picture = overlay(image.pixels, labels, model.palette, classes=model.classes)
            with atomic_write(path) as aside:
                Image.fromarray(picture).save(aside, format="JPEG", quality=90)
        else:
            cells = image.scores if kind == "scores" else image.features
            assert cells is not None
            with atomic_write(path) as aside, aside.open("wb") as file:
                np.save(file, np.ascontiguousarray(cells.half().cpu().numpy()), allow_pickle=False)


def _outputs(images: Sequence[tuple[Path, str]], out: Path, save: Collection[str]) -> dict[str, dict[str, Path]]:
    """Files of every image; two images with the same stem keep their ending, so that neither is overwritten."""
    stems = {name: str(Path(name).with_suffix("")) for _, name in images}
    shared = Counter(stems.values())
    kept = {name: name if shared[stem] > 1 else stem for name, stem in stems.items()}
    return {
        name: {kind: out / kind / (kept[name] + ENDINGS[kind]) for kind in ENDINGS if kind in save} for name in kept
    }


def _read_ahead(
    readers: ThreadPoolExecutor, todo: Sequence[tuple[Path, str]], short_side: int
) -> Iterator[tuple[str, Future[np.ndarray]]]:
    """Decode the next images while earlier ones are being computed."""
    ahead: deque[tuple[str, Future[np.ndarray]]] = deque()
    for path, name in todo:
        ahead.append((name, readers.submit(read_image, path, short_side)))
        if len(ahead) > THREADS:
            yield ahead.popleft()
    yield from ahead


def _written_by_us(image: Path, out: Path) -> bool:
    """Whether an image is an output of an earlier call that wrote into the folder of the images."""
    return any(image.is_relative_to((out / kind).absolute()) for kind in ENDINGS)


def _check_origin(settings: SegmentSettings, segmenter: Segmenter, alone: bool) -> dict[str, Any]:
    """Refuse a folder with label maps of another model, so that two are never mixed; returns what to record there.

    Other processes may write into the folder at the same time, but only label maps of the same model. While label maps
    of another model are being overwritten, the folder is marked, so that it is still refused after an interruption.
    """
    model, precision = segmenter.model, segmenter.precision
    made_from = {
        "model": fingerprint(settings.model),
        "short_side": model.short_side,
        "window": model.window,
        "windows": model.tiling,
        # Not recorded for float32, as in folders of earlier versions.
        **({"precision": precision} if precision != "float32" else {}),
    }
    known = settings.out / MADE_FROM
    if known.exists() and (before := read_json(known)) != made_from:
        other = f"label maps of {_otherwise(before, made_from)}: choose another --out"
        if not alone:
            raise FgsnError(f"{settings.out} is being filled with {other}")
        if not settings.overwrite:
            raise FgsnError(f"{settings.out} contains {other}, or add --overwrite")
        write_json(known, {**made_from, "unfinished": True})
    else:
        write_json(known, made_from)
    return made_from


def _otherwise(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How existing label maps were made, as far as that differs from now."""
    if before.get("unfinished"):
        return "another model or other settings, partly overwritten"
    if before.get("model") != now["model"]:
        return "another model"
    default = {"precision": "float32"}
    pairs = {key: ((default | before).get(key), (default | now).get(key)) for key in default | before | now}
    flags = {key: flag("tiling" if key == "windows" else key) for key in pairs}
    given = [f"{flags[key]} {old}, not {new}" for key, (old, new) in pairs.items() if old != new]
    return f"this model with {' and '.join(given)}"
