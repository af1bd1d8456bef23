"""Labels and features of a model at keypoints, in the layout of hloc's feature files.

The file can replace hloc's own features: `descriptors` are the network's features; `labels` are added.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch.nn import functional

from fgsn.data.images import read_image
from fgsn.data.resize import resized_shape
from fgsn.errors import FgsnError
from fgsn.files import inside
from fgsn.formats.hdf5 import member, opened, stored_array, written
from fgsn.formats.hloc import image_names
from fgsn.inference.label_lookup import labels_at
from fgsn.inference.model import Model
from fgsn.inference.upsample import values_at_points
from fgsn.progress import tracked


def write_hloc_features(model: Model, images: Path, keypoints: Path, out: Path) -> dict[str, Any]:
    """Write a group for every image of a keypoint file, hloc's features.h5 with any local features.

    Each group contains keypoints (N, 2) and scores (N,), unchanged, descriptors (D, N) of length 1, labels (N,), -1 for
    keypoints outside the image, and image_size (width, height). Names in the file are relative to `images`. Raises
    FgsnError if the file or an image is missing or broken.
    """
    if keypoints.resolve() == out.resolve():
        raise FgsnError(f"{out} would replace the input keypoints; choose another --out")
    points = 0
    with opened(keypoints) as given:
        names = image_names(given)
    if not names:
        raise FgsnError(f"{keypoints} contains no image with keypoints; is it a features.h5 of hloc?")
    with written(out) as file:
        for name in tracked(names, "hloc", len(names)):
            with opened(keypoints) as given:
                pixels, scores = _keypoints(given, name)
            image = read_image(inside(images, name))
            group = file.create_group(name)
            group["keypoints"] = pixels.astype(np.float32)
            if scores is not None:
                group["scores"] = scores
            group["descriptors"] = features_at(model, image, pixels)
            group["labels"] = labels_at(model.segment(image), pixels)
            group["image_size"] = np.array(image.shape[1::-1])
            points += len(pixels)
    return {
        "file": str(out),
        "images": len(names),
        "keypoints": points,
        "dimensions": model.network.architecture.feature_dim,
    }


def features_at(
    model: Model, image: NDArray[np.uint8], pixels: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "dim points"]:
    """Features interpolated at (x, y) in pixels of the image, each of length 1 (float16)."""
    seen = resized_shape(image.shape, model.short_side)
    found = values_at_points(model.feature_map(image), pixels, image.shape[:2], seen)
    return functional.normalize(found, dim=1).T.half().cpu().numpy()


def _keypoints(file: h5py.File, name: str) -> tuple[NDArray[np.float64], NDArray[Any] | None]:
    pixels = stored_array(file, f"{name}/keypoints")
    if pixels.ndim != 2 or pixels.shape[1] < 2 or not np.isfinite(pixels[:, :2]).all():
        raise FgsnError(f"the keypoints of '{name}' are not finite (N, 2) numbers")
    scored = member(file, f"{name}/scores") is not None
    return pixels[:, :2].astype(np.float64), stored_array(file, f"{name}/scores") if scored else None
