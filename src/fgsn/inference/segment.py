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
from fgsn.config.base import OnBadImage
from fgsn.data.images import list_images, read_image, unread_images
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, atomic_write, write_json, write_yaml
from fgsn.inference.label_maps import write_label_map
from fgsn.inference.model import Model, load
from fgsn.inference.origin import is_fresh, origin_of, other_origin, record_origin
from fgsn.inference.overlays import overlay
from fgsn.inference.segmenter import Prediction, Segmenter
from fgsn.progress import Meter

ENDINGS = {"labels": ".png", "overlay": ".jpg", "features": ".npy", "scores": ".npy"}
THREADS = min(8, os.cpu_count() or 1)
"""Number of threads that read, and of threads that compute labels from scores and write them."""
WAITING_BYTES = 1 << 28
"""Limit for the scores and features that wait for the writing threads."""


def segment(settings: SegmentSettings) -> dict[str, Any]:
    """Write the outputs selected by `--save` for every image; returns counts, speed and the images that failed.

    Raises FgsnError if model or images are missing, or the folder contains label maps of another model.
    """
    with ranks.joined(settings.device):
        return _segment(settings)


def _segment(settings: SegmentSettings) -> dict[str, Any]:
    model = load(settings.model, settings.device)
    changes = {"short_side": settings.short_side, "window": settings.window or None, "tiling": settings.tiling}
    model = replace(model, **{key: value for key, value in changes.items() if value is not None})
    segmenter = Segmenter(model, settings.precision, settings.memory, settings.batch)
    images = list_images(settings.images)
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
    results["failed"] += unread_images(settings.images)
    record_origin(settings.out, made_from)
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
    todo = [
        (image, name)
        for image, name in mine
        if overwrite or not all(is_fresh(path, image) for path in outputs[name].values())
    ]
    file_of = {name: image for image, name in todo}
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
            writing.append(writers.submit(_write, segmenter.model, image, file_of[image.name], outputs[image.name]))
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


def _write(model: Model, image: Prediction, file: Path, paths: Mapping[str, Path]) -> None:
    """Write the outputs of the image in `file`."""
    labels = image.labels() if {"labels", "overlay"} & paths.keys() else np.empty((0, 0), np.int64)
    for kind, path in paths.items():
        if kind == "labels":
            write_label_map(path, labels, model.clusters, model.palette, file)
        elif kind == "overlay":
            picture = overlay(image.pixels, labels, model.palette, model.classes)
            with atomic_write(path) as aside:
                Image.fromarray(picture).save(aside, format="JPEG", quality=90)
        else:
            cells = image.scores if kind == "scores" else image.features
            assert cells is not None
            with atomic_write(path) as aside, aside.open("wb") as out:
                np.save(out, np.ascontiguousarray(cells.half().cpu().numpy()), allow_pickle=False)


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


def _check_origin(settings: SegmentSettings, segmenter: Segmenter, alone: bool) -> dict[str, Any]:
    """Refuse a folder with label maps of another model, so that two are never mixed; returns what to record there.

    Other processes may write into the folder at the same time, but only label maps of the same model. While label maps
    of another model are being overwritten, the folder is marked, so that it is still refused after an interruption.
    """
    made_from = origin_of(segmenter, settings.model)
    if other := other_origin(settings.out, made_from):
        if not alone:
            raise FgsnError(f"{settings.out} is being filled with {other}: choose another --out")
        if not settings.overwrite:
            raise FgsnError(f"{settings.out} contains {other}: choose another --out, or add --overwrite")
        record_origin(settings.out, made_from, unfinished=True)
    else:
        record_origin(settings.out, made_from)
    return made_from
