"""Sample and cluster features of the reference images; the frozen network that labels crops."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fgsn import ranks
from fgsn.clustering.codebook import Codebook
from fgsn.config import TrainSettings
from fgsn.data.augment import generator
from fgsn.data.dataset import Dataset
from fgsn.data.images import read_image, skip_bad_image
from fgsn.data.pairs import cells_of
from fgsn.data.resize import resized_shape, scaled_points
from fgsn.errors import FgsnError
from fgsn.inference.model import Model
from fgsn.progress import tracked


def cluster_features(model: Model, sets: list[Dataset], settings: TrainSettings, step: int) -> Codebook:
    """Sample features of all reference images of the training pairs, whiten them and cluster them."""
    images = [(data, image) for data in sets for image in data.reference_images("train")]
    rows: dict[int, Tensor] = {}
    mine = ranks.share(range(len(images)))
    for index in tracked(mine, "features of reference images", len(mine)):
        data, image = images[index]
        pixels = None
        with skip_bad_image(settings.on_bad_image):
            pixels = read_image(image)
        if pixels is None:
            continue
        seen = resized_shape(pixels.shape, model.short_side)
        points = scaled_points(data.reference_points(image), pixels.shape, seen)
        with autocast(model.device, settings.precision):
            features = model.feature_map(pixels)
        cells = sampled_cells(
            points, features.shape[1:], settings.features_per_image, generator(settings.seed, 3, step, index)
        )
        rows[index] = features[:, cells[:, 1], cells[:, 0]].T.float()
    features = _of_all_ranks(rows, len(images), model)
    if not len(features):
        raise FgsnError("none of the reference images can be read; fgsn check lists what is wrong with them")
    return Codebook.fit(features, settings.clusters, settings.seed + step, settings.pca_dim, settings.kmeans_iterations)


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


class Labeller:
    """Labels crops with the network as it was at clustering time and its codebook."""

    def __init__(self, model: Model, precision: str, compiled: bool = False) -> None:
        assert model.codebook is not None
        self.model, self.codebook, self.precision = model, model.codebook, precision
        self.network = torch.compile(model.network) if compiled else model.network

    @torch.no_grad()
    def __call__(self, crops: Float[Tensor, "batch 3 side side"]) -> Int64[Tensor, "batch height width"]:
        """Cluster index of every feature cell of normalised reference crops."""
        with autocast(crops.device, self.precision):
            features = self.network(crops).features
        return self.codebook.assign_map(features.float())
