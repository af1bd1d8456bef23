"""fgsn augment: a features.h5 of hloc whose descriptors carry label probabilities."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Float32

from fgsn.config import AugmentSettings
from fgsn.config.base import work_folder
from fgsn.config.localization import AUGMENT_WEIGHT
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size
from fgsn.errors import FgsnError
from fgsn.files import atomic_write, inside, write_json, write_yaml
from fgsn.formats.hdf5 import member, opened, stored_array, written
from fgsn.formats.hloc import image_names, read_image_size, read_key_points
from fgsn.formats.numpy_file import read_array
from fgsn.inference.model import load
from fgsn.matching.augmentation import Augmentation, fit_projection
from fgsn.matching.choose_weight import best_weight, right_matches_by_weight
from fgsn.matching.keypoints import read_keypoints
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.matcher import make_matcher
from fgsn.progress import tracked

_SAMPLE_IMAGES = 100
_SAMPLE_POINTS = 200  # of each of them


def augment(settings: AugmentSettings) -> dict[str, Any]:
    """Write the features with augmented descriptors, and settings, results and the projection beside them.

    The label probabilities of every image stay in the work folder: after an interruption, or with another weight, they
    are not computed again.

    Images that cannot be used are left out, and listed under `failed`.

    Raises:
        FgsnError: the features, all images, the model or the data set are missing or broken.
    """
    points = all_key_points(settings.features)
    images = {name: inside(settings.images, name) for name in points}
    failed = {name: reason for name, path in images.items() if (reason := _unfit(settings.features, name, path))}
    work = work_folder(settings)
    labels, clusters = LabelVectors.of_model(settings.model, work), load(settings.model, "cpu").clusters
    projection = None if settings.projection is None else read_projection(settings.projection, clusters)
    if settings.data:
        Dataset.open(settings.data)  # a wrong path is reported before minutes of work
        make_matcher(settings.matcher)
    failed |= labels.compute(images, {name: points[name] for name in points if name not in failed}, settings.device)
    images = {name: path for name, path in images.items() if name not in failed}
    if not images:
        raise FgsnError(f"none of {len(points)} images can be used, first: {next(iter(failed.values()))}")
    weight, table = settings.weight, {}
    if settings.data:
        table = right_matches_by_weight(settings, work / "weights")
        weight = best_weight(table["labels"])
    sample = _sample(labels, images, points)
    weight = AUGMENT_WEIGHT if weight is None else weight
    if not weight:
        projection = None
    elif projection is None and clusters > settings.dimensions and len(sample):
        projection = fit_projection(sample, settings.dimensions)
    augmentation = Augmentation(labels, weight, settings.position, projection)
    dimensions = _write(settings, images, augmentation)
    beside = settings.out.with_suffix(".projection.npy")
    if projection is None:
        beside.unlink(missing_ok=True)  # of an earlier file
    else:
        with atomic_write(beside) as aside, aside.open("wb") as file:
            np.save(file, projection, allow_pickle=False)
    results = {
        "file": str(settings.out),
        "images": len(images),
        "keypoints": sum(len(points[name]) for name in images),
        "labels": clusters,
        "weight": augmentation.weight,
        "position": augmentation.position,
        "dimensions": dimensions,
        "projection_error": None if projection is None else projection_error(sample, projection),
        "right_matches": table,
        "failed": list(failed.values()),
    }
    write_yaml(settings.out.with_suffix(".config.yaml"), settings.as_dict())
    write_json(settings.out.with_suffix(".results.json"), results)
    return results


def projection_error(
    vectors: Float[np.ndarray, "points labels"], projection: Float[np.ndarray, "labels dimensions"]
) -> float:
    """Root mean square error of the dot products of unlike vectors after projection."""
    some, short = vectors[:2000], (vectors @ projection)[:2000]
    error = (some @ some.T - short @ short.T)[np.triu_indices(len(some), 1)]
    return float(np.sqrt(np.mean(error**2))) if len(error) else 0.0


def all_key_points(path: Path) -> dict[str, Float[np.ndarray, "points 2"]]:
    """The key points of every image of a features.h5; descriptors, which may not fit into memory, are not read yet."""
    with opened(path, "features.h5 of hloc") as file:
        names = image_names(file)
        for name in names:
            for part in ("descriptors", "scores"):
                if member(file, f"{name}/{part}") is None:
                    raise FgsnError(f"{path} contains no features of '{name}' in hloc's layout: no {part}")
    if not names:
        raise FgsnError(f"{path} contains no image with keypoints; is it a features.h5 of hloc?")
    return {name: read_key_points(path, name) for name in names}


def _unfit(path: Path, name: str, image: Path) -> str:
    """Why an image file cannot be that of the features; empty if it can."""
    try:
        size, expected = image_size(image), read_image_size(path, name)
    except FgsnError as error:
        return str(error)
    if size == expected or expected is None:
        return ""
    return (
        f"{image} is {size[0]} x {size[1]} pixels, but {path} has features of {expected[0]} x {expected[1]}; "
        "give the images that they were extracted from"
    )


def _sample(
    labels: LabelVectors, images: Mapping[str, Path], points: Mapping[str, np.ndarray]
) -> Float32[np.ndarray, "points labels"]:
    """Label vectors of evenly chosen images and key points, in an order that mixes images."""
    names = [name for name in images if len(points[name])]
    names = names[:: max(1, len(names) // _SAMPLE_IMAGES)]
    found = np.concatenate(
        [labels.at(name, images[name], points[name])[:: max(1, len(points[name]) // _SAMPLE_POINTS)] for name in names]
        or [np.zeros((0, 1), np.float32)]
    )
    return found[np.random.default_rng(0).permutation(len(found))]


def read_projection(path: Path, clusters: int) -> np.ndarray:
    """The projection that an earlier call wrote, checked against the number of labels of the model."""
    projection = read_array(path)
    if projection.ndim != 2 or projection.dtype != np.float32 or not np.isfinite(projection).all():
        raise FgsnError(f"{path} is not a projection of fgsn augment")
    if len(projection) != clusters:
        raise FgsnError(f"{path} is a projection of {len(projection)} labels, but the model has {clusters}")
    return projection


def _write(settings: AugmentSettings, images: Mapping[str, Path], augmentation: Augmentation) -> int:
    """Write the features of all images; returns the number of dimensions."""
    dimensions = 0
    with written(settings.out) as file:
        for name, image in tracked(images.items(), "augment", len(images)):
            found = read_keypoints(settings.features, name)
            assert found is not None
            unit = found.descriptors / np.maximum(np.linalg.norm(found.descriptors, axis=1, keepdims=True), 1e-12)
            descriptors = augmentation(name, image, replace(found, descriptors=unit)).descriptors
            dimensions = descriptors.shape[1]
            with opened(settings.features, "features.h5 of hloc") as given:
                group = member(given, name)
                assert isinstance(group, h5py.Group)
                for key in list(group):
                    source = f"{name}/{key}"
                    augmented = key == "descriptors"
                    file[source] = descriptors.T.astype(np.float16) if augmented else stored_array(given, source)
                    given_attributes = group[key].attrs  # such as the uncertainty of key points
                    plain = [one for one in given_attributes if given_attributes.get_id(one).dtype.kind in "fiuS"]
                    file[source].attrs.update({one: given_attributes[one] for one in plain})
    return dimensions
