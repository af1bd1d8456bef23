"""Track cameras along sequences of images by labels alone (PFSL; Stenborg et al., ICRA 2018), without ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgsn.config import TrackSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size
from fgsn.errors import FgsnError
from fgsn.files import write_json, write_yaml
from fgsn.formats.poses import PoseList, read_results, write_results
from fgsn.formats.priors import Odometry, Priors, read_odometry, read_priors
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.pose import Pose
from fgsn.inference.label_lookup import read_image_labels
from fgsn.inference.model import prepare_device
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.map_folder import check_map, open_labelled_map
from fgsn.progress import Meter
from fgsn.tracking.confusion import Confusion
from fgsn.tracking.map_points import MapPoints
from fgsn.tracking.particle_filter import Estimate, FilterSettings, Frame, PosePrior, Spread, track


def track_sequences(settings: TrackSettings) -> dict[str, Any]:
    """Track every sequence, and write the poses of all images.

    Returns:
        At how many images the filter was lost, and for each sequence the number of images, how many were lost, whether
        the start was, and medians of the filter's own metrics. The results file adds them for each image.

    Raises:
        FgsnError: an input is missing or malformed, or a sequence has no start pose.
    """
    check_map(settings)
    starts = read_results(settings.start)
    priors = [read_priors(path) for path in settings.priors]
    files = zip(settings.queries, settings.odometry, strict=True)
    sequences = [_sequence(*both, starts, settings.start) for both in files]
    labelled = open_labelled_map(settings.map, settings.map_labels)
    points = MapPoints(labelled.points, labelled.labels, labelled.visibility)
    confusion = _confusion(settings, labelled.clusters)
    filter_settings = FilterSettings(particles=settings.particles, points=settings.points, seed=settings.seed)
    metres = settings.start_metres
    spread = Spread((metres, metres, metres), settings.start_degrees)
    device = prepare_device(settings.device)
    names: list[str] = []
    estimates: list[Estimate] = []
    results: dict[str, Any] = {}
    by_image: list[dict[str, Any]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the steps are too small for several threads
    try:
        for list_file, (queries, odometry, start) in zip(settings.queries, sequences, strict=True):
            with Meter(f"track {list_file.stem}", len(queries), unit=" images") as meter:
                frames = _frames(settings, labelled, queries, odometry, priors, meter)
                found = track(points, confusion, frames, start, spread, filter_settings, device)
            names += [query.name for query in queries]
            estimates += found
            lost = lost_images(found, filter_settings)
            by_image += [
                {"name": query.name, "lost": off, "support": round(one.explained_share, 4),
                 "effective": round(one.effective, 1), "used": round(one.used, 4)}
                for query, off, one in zip(queries, lost, found, strict=True)
            ]  # fmt: skip
            results[list_file.stem] = {
                "images": len(found),
                "lost": sum(lost),
                "start_lost": lost[0],
                "effective": float(np.median([one.effective for one in found])),
                "support": float(np.median([one.explained_share for one in found])),
            }
    finally:
        torch.set_num_threads(threads)
    write_results(settings.out, names, Pose.concatenate(one.pose for one in estimates))
    write_yaml(settings.out.with_suffix(".config.yaml"), settings.as_dict())
    summary = {
        "map_points": int((labelled.labels >= 0).sum()),
        "lost": f"at {sum(row['lost'] for row in by_image)} of {len(names)} images",
        "sequences": results,
        "poses": str(settings.out),
    }
    write_json(settings.out.with_suffix(".results.json"), summary | {"by_image": by_image})
    return summary


def lost_images(estimates: list[Estimate], settings: FilterSettings) -> list[bool]:
    """At which images a track is lost: where the filter says so, and at the start until an image is explained."""
    explained = np.array([one.explained_share >= settings.lost_below for one in estimates])
    confirmed = np.logical_or.accumulate(explained)
    return [one.lost or not known for one, known in zip(estimates, confirmed.tolist(), strict=True)]


def _sequence(
    list_file: Path, odometry_file: Path, starts: PoseList, source: Path
) -> tuple[list[Query], Odometry, Pose]:
    """Queries, odometry and start pose of a sequence; FgsnError if they do not belong together."""
    queries, odometry = read_queries(list_file), read_odometry(odometry_file)
    if odometry.names != [query.name for query in queries]:
        raise FgsnError(f"{odometry_file} should list the {len(queries)} images of {list_file} in the same order")
    if queries[0].name not in starts.names:
        raise FgsnError(f"{source} has no pose of '{queries[0].name}', the first image of {list_file}")
    return queries, odometry, starts.camera_from_world[starts.names.index(queries[0].name)]


def _frames(
    settings: TrackSettings,
    labelled: LabelledMap,
    queries: list[Query],
    odometry: Odometry,
    priors: list[Priors],
    meter: Meter,
) -> Iterator[Frame]:
    known = {name: (p.gravity[row], p.heights[row]) for p in priors for row, name in enumerate(p.names)}
    for row, query in enumerate(queries):
        labels = read_image_labels(settings.query_labels, query.name, query.camera.size, labelled.clusters)
        prior = PosePrior(known[query.name][0], float(known[query.name][1])) if query.name in known else None
        yield odometry.motion[row], labels, query.camera, prior
        meter.step()


def _confusion(settings: TrackSettings, clusters: int) -> Confusion:
    """Label confusions, counted at the training correspondences of the data set."""
    data = Dataset.open(settings.data)

    def label_of(image: Path) -> np.ndarray:
        return read_image_labels(settings.data_labels, data.name(image), image_size(image), clusters)

    pairs = [read_correspondences(path, data.images) for path in data.pairs("train", moved=False)]
    return Confusion.count(label_of, pairs, clusters)
