"""A map whose points have labels: the majority over the images that observe them, by the label maps of `fgsn segment`.

From where each point was seen, which estimators need as well, is computed here once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.visibility import Visibility, visibility_of
from fgsn.inference.label_lookup import NO_LABEL, find_label_map, first_label_map, labels_at
from fgsn.inference.label_maps import read_label_map
from fgsn.localization.label_histograms import HistogramSums, LabelHistograms
from fgsn.progress import say, tracked

SMALLEST_HALF_ANGLE = 10.0
_POINTS_AT_ONCE = 100_000


@dataclass(frozen=True, eq=False)
class LabelledMap(Reconstruction):
    """A reconstruction with labels; its T observations are in the order of the images."""

    clusters: int
    """Number of labels K; 0 in a map without labels."""
    labels: NDArray[np.int32]
    """(M,) label of every point, -1 for none."""
    confidence: NDArray[np.float32]
    """(M,) share of the votes that the label got, 0 without a label."""
    track_labels: NDArray[np.int32]
    """(T,) label at every observation, the votes; -1 for none."""
    observations: NDArray[np.int32]
    """(M,) number of images that observe the point."""
    visibility: Visibility
    """From where the M points were seen."""
    stationary: NDArray[np.bool_] | None
    """(K,) which labels mark stationary things, if known."""
    histograms: LabelHistograms | None = None
    """Labels around the points, if they were asked for."""

    def points_of(self, image: int) -> NDArray[np.int64]:
        """Rows of the points that an image, given by its row, observes."""
        first, last = np.searchsorted(self.track_image, (image, image + 1))
        return self.track_point[first:last]

    def pixels_of(self, image: int) -> NDArray[np.float64]:
        """Where the image observes them (n, 2), in the order of `points_of`."""
        first, last = np.searchsorted(self.track_image, (image, image + 1))
        return self.track_pixels[first:last]


def make_labelled_map(
    model: Reconstruction,
    label_maps: Path | str | None,
    stationary: NDArray[np.bool_] | None = None,
    smallest_half_angle: float = SMALLEST_HALF_ANGLE,
    label_window: float | None = None,
) -> LabelledMap:
    """Give every point of a map a label.

    Args:
        model: the map.
        label_maps: folder of label maps that mirrors the names of the images, or the --out of `fgsn segment`; None
            for a map without labels (K = 0), which is enough for P3P.
        stationary: (K,) which labels are stationary, as stored in the model that made the label maps.
        smallest_half_angle: lower bound of the viewing cones' half angles in degrees.
        label_window: of `LabelHistograms` around the points; None for a map without.

    Raises:
        FgsnError: the map has no points, no image has a label map, or a label map differs in size from its image or in
            the number of labels from the others.
    """
    if not len(model.points):
        raise FgsnError("the map has no points; triangulate them first")
    # What takes much memory for a moment comes before the histograms, which stay.
    visibility = visibility_of(model, smallest_half_angle)
    ordered = _by_image(model)
    track_point, track_image = ordered.track_point, ordered.track_image
    distances = np.linalg.norm(model.camera_from_world.centre[track_image] - model.points[track_point], axis=1)
    clusters, track_labels, histograms = 0, np.full(len(track_image), NO_LABEL, np.int32), None
    if label_maps is not None:
        clusters, track_labels, histograms = observed_labels(ordered, Path(label_maps), label_window)
    if stationary is not None and len(stationary) != clusters:
        raise FgsnError(f"{len(stationary)} stationary flags do not fit label maps of {clusters} labels")
    labels, confidence = vote(track_point, track_labels, distances, len(model.points), clusters)
    return LabelledMap(
        **vars(ordered),
        clusters=clusters,
        labels=labels,
        confidence=confidence,
        track_labels=track_labels,
        observations=np.bincount(track_point, minlength=len(model.points)).astype(np.int32),
        visibility=visibility,
        stationary=None if stationary is None else np.asarray(stationary, bool),
        histograms=histograms,
    )


def _by_image(model: Reconstruction) -> Reconstruction:
    """The same map, its observations in the order of the images."""
    order = np.lexsort((model.track_point, model.track_image)).astype(np.int32)
    tracks = ("track_point", "track_image", "track_pixels", "track_keypoint")
    return replace(model, **{name: column[order] for name in tracks if (column := getattr(model, name)) is not None})


def vote(
    track_point: NDArray[np.int64],
    track_labels: NDArray[np.int32],
    distances: NDArray[np.float64],
    points: int,
    clusters: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Majority label of every point, and its share of the votes.

    Ties go to the label seen by the nearest camera, which saw the point largest, then to the lower label.

    Args:
        track_point: (T,) row of the point that each observation sees.
        track_labels: (T,) label at each observation, -1 for none.
        distances: (T,) of the camera from the point.
        points: number of points M.
        clusters: number of labels K.

    Returns:
        (M,) labels, -1 without a vote, and (M,) shares, 0 without one.
    """
    labels, confidence = np.full(points, NO_LABEL, np.int32), np.zeros(points, np.float32)
    block = np.where(track_labels >= 0, track_point // _POINTS_AT_ONCE, -1).astype(np.int32)
    for number in range(-(-points // _POINTS_AT_ONCE)):
        rows = np.flatnonzero(block == number)
        cell = track_point[rows] * clusters + track_labels[rows]
        rows = rows[order := np.lexsort((distances[rows], cell))]
        cells, first, counts = np.unique(cell[order], return_index=True, return_counts=True)
        point, label = np.divmod(cells, max(clusters, 1))
        ranked = np.lexsort((label, distances[rows[first]], -counts, point))
        winners = ranked[np.unique(point[ranked], return_index=True)[1]]
        totals = np.bincount(track_point[rows] - number * _POINTS_AT_ONCE)
        labels[point[winners]] = label[winners]
        confidence[point[winners]] = counts[winners] / totals[point[winners] - number * _POINTS_AT_ONCE]
    return labels, confidence


def observed_labels(
    model: Reconstruction, folder: Path, label_window: float | None
) -> tuple[int, NDArray[np.int32], LabelHistograms | None]:
    """Number of labels, the label (T,) at every observation, and the histograms: reads each label map once.

    Args:
        model: the map, its observations in the order of the images.
        folder: of the label maps.
        label_window: see `make_labelled_map`.

    Raises:
        FgsnError: see `make_labelled_map`.
    """
    files = [find_label_map(folder, name) for name in model.names]
    missing = [name for name, file in zip(model.names, files, strict=True) if file is None]
    if len(missing) == len(files):
        first_label_map(folder, model.names, "image of the map")  # says so
    if missing:
        say(f"{len(missing)} of {len(files)} images of the map have no label map in {folder}: {_some(missing)}")
    labels = np.full(len(model.track_image), NO_LABEL, np.int32)
    bounds = np.searchsorted(model.track_image, np.arange(len(files) + 1))
    clusters, first, sums = 0, Path(), None
    for image, file in tracked(list(enumerate(files)), "label the map", len(files)):
        if file is None:
            continue
        label_map, count = read_label_map(file)
        camera = model.camera(image)
        if label_map.shape != (camera.height, camera.width):
            height, width = label_map.shape
            raise FgsnError(
                f"{file} has {width} x {height} pixels, but the map's image '{model.names[image]}' {camera.width} x "
                f"{camera.height}; segment the images that the map was made from"
            )
        if not clusters:
            clusters, first = count, file
            sums = None if label_window is None else HistogramSums(len(model.points), clusters, label_window)
        if count != clusters:
            raise FgsnError(f"{file} has {count} labels, but {first} {clusters}; segment all images with one model")
        rows = slice(bounds[image], bounds[image + 1])
        labels[rows] = labels_at(label_map, model.track_pixels[rows])
        if sums is not None:
            sums.add(label_map, model.track_pixels[rows], model.track_point[rows])
    return clusters, labels, None if sums is None else sums.total()


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
