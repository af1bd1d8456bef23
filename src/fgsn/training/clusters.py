"""Cluster the features of the reference images, and label the images or crops of training samples."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn import ranks
from fgsn.clustering.codebook import Codebook
from fgsn.clustering.kmeans import require_features
from fgsn.clustering.whitening import Whitening
from fgsn.config import TrainSettings
from fgsn.data.augment import generator, scaled
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size, read_image, skip_bad_image
from fgsn.data.pairs import PairSample, cells_of
from fgsn.data.resize import resized, resized_shape, scaled_points
from fgsn.errors import FgsnError
from fgsn.evaluation.moved_views import View, moved_view
from fgsn.evaluation.position_control import find_false_partners
from fgsn.inference.model import Model
from fgsn.inference.upsample import values_at_points
from fgsn.models.layers import STRIDE
from fgsn.models.model_file import read_model_file
from fgsn.progress import say, tracked
from fgsn.training.batches import stacked

FINE = STRIDE // 2
"""Pixels between the cells of label maps of whole images, finer than those of features as crops are zoomed."""
MARGIN = 4 * STRIDE
"""Pixels by which an image is mirrored at its border, so that features there do not see the border."""
PAIRS = 60
"""Training pairs that the discriminative whitening looks at, at most."""
POINTS = 200
"""Correspondences of each, at most."""
FEWEST = 4
"""False partners for each dimension of the features, at least."""

Labels = Int64[Tensor, "batch height width"]
LabelSamples = Callable[[Sequence[PairSample]], Labels]
"""Gives the cluster index of every feature cell of the reference crops of some samples."""


def cluster_features(
    model: Model, sets: list[Dataset], settings: TrainSettings, step: int
) -> tuple[Codebook, dict[Path, Tensor]]:
    """Sample features of all reference images of the training pairs, whiten and cluster them; label the images.

    Returns:
        The codebook, and the cluster index of every `FINE` cell of every image, where labels are looked up in those.
    """
    images = [(data, image) for data in sets for image in data.reference_images("train")]
    require_features(len(images) * settings.features_per_image, settings.clusters)  # before minutes of work
    rows: dict[int, Tensor] = {}
    mine = ranks.share(range(len(images)))
    for index in tracked(mine, "features of reference images", len(mine)):
        data, image = images[index]
        if (features := scene_features(model, image, settings)) is None:
            continue
        points = data.reference_points(image)
        width, height = image_size(image)
        seen = resized_shape((height, width), model.short_side)
        cells = sampled_cells(
            scaled_points(points, (height, width), seen),
            features.shape[1:],
            settings.features_per_image,
            generator(settings.seed, 3, step, index),
        )
        rows[index] = features[:, cells[:, 1], cells[:, 0]].T.float()
    sampled = _of_all_ranks(rows, len(images), model)
    if not len(sampled):
        raise FgsnError("none of the reference images can be read; fgsn check lists what is wrong with them")
    whitening = None
    if settings.whitening == "discriminative":
        whitening = _discriminative(model, sets, settings, sampled.mean(dim=0))
    codebook = Codebook.fit(
        sampled, settings.clusters, settings.seed + step, settings.pca_dim, settings.kmeans_iterations, whitening
    )
    if settings.labels_from == "crop":
        return codebook, {}
    # The features of all images would not fit into memory, so they are computed again.
    labelled: dict[int, Tensor] = {}
    for index in tracked(list(rows), "labels of reference images", len(rows)):
        _, image = images[index]
        if (features := scene_features(model, image, settings)) is not None:
            labelled[index] = _fine_labels(codebook, features)
    every = {index: labels for share in ranks.gathered(labelled) for index, labels in share.items()}
    return codebook, {images[index][1]: every[index] for index in sorted(every)}


def scene_features(model: Model, image: Path, settings: TrainSettings) -> Float[Tensor, "dim height width"] | None:
    """Features (cells of the image) that belong to the scene rather than to the frame: averaged over several scales.

    Views are mirrored at the border of the image, so that features there do not see the border. With the one scale 1
    these are the features of the image itself, as in the paper. None if it cannot be read and the settings say skip.
    """
    pixels = None
    with skip_bad_image(settings.on_bad_image):
        pixels = resized(read_image(image, model.short_side), model.short_side)
    return None if pixels is None else _over_scales(model, pixels, settings)


def _over_scales(model: Model, pixels: np.ndarray, settings: TrainSettings) -> Float[Tensor, "dim height width"]:
    """Features at the cells of a resized image, averaged over views of it at several scales."""
    unscaled = replace(model, short_side=0)
    with autocast(model.device, settings.precision):
        if settings.scales == (1.0,):
            return unscaled.feature_map(pixels).float()
        height, width = ((side - 1) // STRIDE + 1 for side in pixels.shape[:2])
        cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2) * float(STRIDE)
        margin = [min(MARGIN, side - 1) for side in pixels.shape[:2]]
        mirrored = np.pad(pixels, [(side, side) for side in margin] + [(0, 0)], mode="reflect")
        total = torch.zeros(())
        for scale in settings.scales:
            view = scaled(mirrored, scale)
            found = unscaled.feature_map(view).float()
            total = total + values_at_points(found, cells + margin[::-1], mirrored.shape[:2], view.shape[:2]).cpu()
    return (total / len(settings.scales)).T.reshape(-1, height, width).to(model.device)


def _discriminative(
    model: Model, sets: list[Dataset], settings: TrainSettings, mean: Float[Tensor, " dim"]
) -> Whitening | None:
    """The whitening that tells scene points at like image positions apart; None if too few points are known.

    From correspondences of at most `PAIRS` training pairs: a point must stay the same in another condition and
    another view, as both images are seen through random windows at other scales; a point and one of another place at
    the same position of the target image must differ.
    """
    pairs = [(data, path) for data in sets for path in data.pairs("train")]
    pairs = pairs[:: max(1, -(-len(pairs) // PAIRS))]
    found: list[tuple[np.ndarray, ...]] = []
    mine = ranks.share(range(len(pairs)))
    for index in tracked(mine, "features of training pairs", len(mine)):
        data, path = pairs[index]
        # The training itself reports what cannot be read.
        with suppress(FgsnError) if settings.on_bad_image == "skip" else nullcontext():
            pair = read_correspondences(path, data.images)
            ends = [
                _moved(pair.reference, pair.points_ref, model.short_side, f"{index} reference", settings.seed),
                _moved(pair.target, pair.points_tgt, model.short_side, f"{index} target", settings.seed),
            ]
            seen = np.flatnonzero(np.logical_and(*(view.contains(points) for view, points in ends)))
            if not len(seen):
                continue
            rows = generator(settings.seed, 8, index).permutation(seen)[:POINTS]
            vectors = []
            for view, points in ends:
                size, features = view.pixels.shape[:2], _over_scales(model, view.pixels, settings)
                vectors.append(values_at_points(features, view.points(points[rows]), size, size).cpu().numpy())
            positions = pair.points_tgt[rows] / image_size(pair.target)[0]
            place = zlib.crc32(f"{data.root}/{data.place(pair.reference)}".encode())
            found.append((np.full(len(rows), index), *vectors, positions, np.full(len(rows), place)))
    shares = [rows for share in ranks.gathered(found) for rows in share]
    if not shares:
        return None
    shares.sort(key=lambda rows: rows[0][0])
    _, reference, target, positions, places = (np.concatenate(column) for column in zip(*shares, strict=True))
    partners = find_false_partners(positions, np.unique(places, return_inverse=True)[1], settings.seed)
    if len(partners.true) < FEWEST * reference.shape[1]:
        say(
            f"only {len(partners.true)} points of other places lie at like image positions: features are whitened by "
            "PCA instead"
        )
        return None
    same = torch.from_numpy(reference - target).to(model.device)
    different = torch.from_numpy(reference[partners.true] - target[partners.false]).to(model.device)
    return Whitening.fit_discriminative(mean, same, different, settings.pca_dim)


def _moved(
    image: Path, points: Float[np.ndarray, "points 2"], short_side: int, name: str, seed: int
) -> tuple[View, Float[np.ndarray, "points 2"]]:
    """A moved view of an image, resized, by the name of the view; and the points of the resized image.

    Images of several places may have the same file name, so that is not the name.
    """
    original = read_image(image, short_side)
    pixels = resized(original, short_side)
    return moved_view(pixels, name, seed), scaled_points(points, original.shape, pixels.shape)


def _fine_labels(codebook: Codebook, features: Float[Tensor, "dim height width"]) -> Tensor:
    """Cluster indices at `FINE` cells (2 height - 1, 2 width - 1) on the CPU: 8 bits up to 256 clusters, else 32."""
    height, width = features.shape[1:]
    fine = functional.interpolate(
        features.float()[None], size=(2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=True
    )
    labels = codebook.assign_map(fine)[0].cpu()
    return labels.to(torch.uint8) if codebook.clusters <= 256 else labels.to(torch.int32)


class ImageLabels:
    """Looks the labels of reference crops up in label maps of the whole images."""

    def __init__(self, maps: Mapping[Path, Tensor], device: torch.device) -> None:
        self.maps, self.device = maps, device

    def __call__(self, samples: Sequence[PairSample]) -> Labels:
        """Cluster index of every feature cell of the reference crops."""
        return torch.stack([self._crop(sample) for sample in samples]).to(self.device)

    def _crop(self, sample: PairSample) -> Int64[Tensor, "height width"]:
        if sample.image not in self.maps:
            raise FgsnError(f"{sample.image} could not be read when its features were clustered: start the run again")
        labels = self.maps[sample.image]
        pixels = torch.arange(0, len(sample.clean), STRIDE, dtype=torch.float64)
        row, column = (
            (((pixels + 0.5) / sample.zoom - 0.5 + corner) / FINE + 0.5).floor().long().clamp(0, size - 1)
            for corner, size in zip(sample.corner[::-1], labels.shape, strict=True)
        )
        return labels[row[:, None], column[None, :]].long()


def label_map_names(maps: Mapping[Path, Tensor], sets: Sequence[Dataset]) -> dict[str, Tensor]:
    """Label maps by the number of the data set and the image's name in it: what a run folder stores."""
    numbers = {data.images: number for number, data in enumerate(sets)}
    names = {}
    for image, labels in maps.items():
        folder = next(folder for folder in image.parents if folder in numbers)
        names[f"{numbers[folder]}/{image.relative_to(folder).as_posix()}"] = labels
    return names


def read_label_maps(path: Path, sets: Sequence[Dataset]) -> dict[Path, Tensor]:
    """Read the label maps that a run folder stores; FgsnError if the file is damaged or not of these data sets."""
    maps: dict[Path, Tensor] = {}
    for name, labels in read_model_file(path)[0].items():
        number, _, image = name.partition("/")
        if not number.isdecimal() or int(number) >= len(sets) or labels.ndim != 2:
            raise FgsnError(f"{path} does not belong to these data sets; start the run again")
        maps[sets[int(number)].images / image] = labels
    return maps


class CropLabels:
    """Labels crops with the network as it was at clustering time and its codebook, as the paper does."""

    def __init__(self, model: Model, precision: str, compiled: bool = False) -> None:
        assert model.codebook is not None
        self.model, self.codebook, self.precision = model, model.codebook, precision
        self.network = torch.compile(model.network) if compiled else model.network

    @torch.no_grad()
    def __call__(self, samples: Sequence[PairSample]) -> Labels:
        """Cluster index of every feature cell of the reference crops."""
        crops = stacked(self.model, [sample.clean for sample in samples])
        with autocast(crops.device, self.precision):
            features = self.network(crops).features
        return self.codebook.assign_map(features.float())


def _of_all_ranks(rows: dict[int, Tensor], images: int, model: Model) -> Float[Tensor, "samples dim"]:
    """Gather the features of all images over the ranks, in the order of the images."""
    lengths = torch.zeros(images, dtype=torch.int64, device=model.device)
    for index, some in rows.items():
        lengths[index] = len(some)
    ranks.add(lengths)
    features = torch.zeros(int(lengths.sum()), model.network.architecture.feature_dim, device=model.device)
    for index, place in enumerate(features.split(lengths.tolist())):
        if index in rows:
            place[:] = rows[index]
    ranks.add(features)
    return features


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context for the setting --precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def sampled_cells(
    points: Float[np.ndarray, "points 2"], size: tuple[int, int] | torch.Size, count: int, rng: np.random.Generator
) -> Int64[np.ndarray, "cells 2"]:
    """Cells (column, row) to sample features at: half at correspondences (each cell once), the rest at random."""
    height, width = size
    at_points = np.unique(cells_of(points), axis=0)
    at_points = at_points[(at_points >= 0).all(axis=1) & (at_points < (width, height)).all(axis=1)]
    chosen = rng.permutation(at_points)[: count // 2]
    anywhere = rng.choice(height * width, size=min(count - len(chosen), height * width), replace=False)
    return np.concatenate([chosen, np.stack([anywhere % width, anywhere // width], axis=1)])
