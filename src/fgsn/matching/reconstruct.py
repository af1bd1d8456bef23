"""COLMAP models over the images of all conditions, from our own keypoints and verified matches."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgsn import extras
from fgsn.errors import FgsnError
from fgsn.files import PART
from fgsn.geometry.camera import Camera, pycolmap_camera
from fgsn.matching.features import Features
from fgsn.matching.pairwise import verified_matches
from fgsn.matching.two_view import TwoView
from fgsn.progress import Meter

_LEAST_IMAGES = 3  # of a model
_MODELS = 20
_ASSUMED_FOCAL_LENGTH = 1.2  # of the longer side, if nothing is known; as in COLMAP


def reconstruct(
    features: Features,
    pairs: Sequence[tuple[str, str]],
    out: Path,
    cameras: Mapping[str, Camera] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Match and verify pairs of images, and reconstruct models by incremental mapping, with progress.

    Args:
        pairs: names of images to match, within conditions and across them.
        out: new folder of the models, written atomically; `0` is the largest.
        cameras: known cameras by image name, which stay fixed. All other images of the same folder and size share a
            camera whose focal length is read from EXIF or guessed, and refined.

    Returns:
        Folders of the models (cameras.bin, images.bin, points3D.bin ...), the one with the most images first.

    Raises:
        FgsnError: no model could be reconstructed, or the folder already exists.
        MissingExtraError: pycolmap or poselib is not installed.
    """
    extras.pycolmap()  # a missing package is reported before minutes of work
    if out.exists():
        raise FgsnError(f"{out} already exists; remove it, or use the models in it")
    with tempfile.TemporaryDirectory(prefix="fgsn-") as aside:
        database = Path(aside) / "database.db"
        pairs = _unique(pairs)
        damaged = features.extract(name for pair in pairs for name in pair)
        pairs = [pair for pair in pairs if not damaged.keys() & set(pair)]
        features.match_all(pairs)
        features.workers.end()
        images = list(dict.fromkeys(name for pair in pairs for name in pair))
        verified = _write_database(database, features, pairs, cameras or {})
        if not verified:
            raise FgsnError("no pair of images has enough verified matches to reconstruct a model; match more pairs")
        known = bool(cameras) and all(name in cameras for name in images)
        models = _map(database, Path(aside), len(images), known, features.workers.count, seed)
        if not models:
            raise FgsnError(
                f"no model could be reconstructed from {len(images)} images and {verified} verified pairs: the camera "
                "hardly moves between them, or too few images overlap; match more pairs, or do without a model"
            )
        beside = out.with_name(f".{out.name}{PART}")
        shutil.rmtree(beside, ignore_errors=True)  # what a killed process left behind; one process writes the folder
        try:
            for rank, model in enumerate(models):
                (beside / str(rank)).mkdir(parents=True)
                model.write_binary(beside / str(rank))
            beside.replace(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return [out / str(rank) for rank in range(len(models))]


def _write_database(
    path: Path, features: Features, pairs: Sequence[tuple[str, str]], cameras: Mapping[str, Camera]
) -> int:
    """Write COLMAP's database for the images of these pairs; returns the number of verified pairs."""
    verified, images = 0, list(dict.fromkeys(name for pair in pairs for name in pair))
    with extras.pycolmap().Database.open(path) as database:
        ids = _write_images(database, features, images, cameras)
        with Meter("verifying", len(pairs), unit=" pairs") as meter:
            for a, b in pairs:
                view, _, _ = verified_matches(features, a, b, cameras)
                if not view.refusal:
                    rows, _ = features.match(a, b)
                    geometry = _two_view_geometry(view, rows)
                    database.write_matches(ids[a], ids[b], rows.astype(np.uint32))
                    database.write_two_view_geometry(ids[a], ids[b], geometry)
                    verified += 1
                meter.step()
    return verified


def _write_images(
    database: Any, features: Features, images: Sequence[str], cameras: Mapping[str, Camera]
) -> dict[str, int]:
    """Write cameras, images and keypoints; returns the identifiers of the images."""
    pycolmap = extras.pycolmap()
    shared: dict[object, int] = {}
    ids = {}
    for name in images:
        found = features[name]
        key = cameras.get(name) or (str(Path(name).parent), found.size)
        if key not in shared:
            if name in cameras:
                camera = pycolmap_camera(cameras[name])
                camera.has_prior_focal_length = True
            else:
                camera = _guessed_camera(features, name)
            shared[key] = database.write_camera(camera)
            rig = pycolmap.Rig()
            rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, shared[key]))
            database.write_rig(rig)
        ids[name] = database.write_image(pycolmap.Image(name=name, camera_id=shared[key]))
        # COLMAP's pixel centres lie at +0.5.
        database.write_keypoints(ids[name], (found.pixels + 0.5).astype(np.float32))
    return ids


def _guessed_camera(features: Features, name: str) -> Any:
    """A camera with one distortion parameter; its focal length is that of EXIF, if there is one."""
    pycolmap = extras.pycolmap()
    width, height = features[name].size
    try:
        found = pycolmap.infer_camera_from_image(features.images[name])
        focal, known = float(found.mean_focal_length()), bool(found.has_prior_focal_length)
    except (ValueError, RuntimeError):
        focal, known = 0.0, False
    focal = focal if known else _ASSUMED_FOCAL_LENGTH * max(width, height)
    parameters = [focal, width / 2, height / 2, 0.0]
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=width, height=height, params=parameters)
    camera.has_prior_focal_length = known
    return camera


def _two_view_geometry(view: TwoView, rows: np.ndarray) -> Any:
    pycolmap = extras.pycolmap()
    kinds = pycolmap.TwoViewGeometryConfiguration
    kind = {"essential": kinds.CALIBRATED, "fundamental": kinds.UNCALIBRATED, "homography": kinds.PLANAR_OR_PANORAMIC}
    geometry = pycolmap.TwoViewGeometry()
    geometry.config = kind[view.kind]
    if view.fundamental is not None:
        geometry.F = view.fundamental
    if view.homography is not None:
        geometry.H = view.homography
    geometry.inlier_matches = rows[view.inliers].astype(np.uint32)
    return geometry


def _map(database: Path, folder: Path, images: int, known: bool, workers: int, seed: int) -> list[Any]:
    pycolmap = extras.pycolmap()
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = max(workers, 1)
    options.random_seed = seed
    options.min_model_size = _LEAST_IMAGES
    options.max_num_models = _MODELS
    options.extract_colors = False
    options.ba_refine_focal_length = options.ba_refine_extra_params = not known
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = not known
    aside = folder / "models"
    aside.mkdir()
    with Meter("mapping", images, unit=" images") as meter, extras.pycolmap_quiet():
        found = pycolmap.incremental_mapping(
            database, folder, aside, options, next_image_callback=lambda: meter.step() if meter.done < images else None
        )
        meter.total = meter.done  # finished; how many images found no place is for the caller to say
    models = [model for model in found.values() if model.num_points3D()]
    return sorted(models, key=lambda model: -model.num_reg_images())


def _unique(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs without self-pairs and repetitions, in either order."""
    seen: dict[frozenset[str], tuple[str, str]] = {}
    for a, b in pairs:
        if a != b:
            seen.setdefault(frozenset((a, b)), (a, b))
    return list(seen.values())
