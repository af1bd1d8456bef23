"""Accuracy of the sources of `fgsn correspond` on the synthetic town, compared with ray casting.

    python benchmarks/correspond_world.py --out DIR [--seed 7] [--places 12] [--size 384 288]
        [--conditions autumn snow] [--json FILE]

`depth` uses the depth maps and poses of the town. `position` uses one COLMAP model per drive, `model` one for all.
Their points lie where images are textured (also on parked cars); they are triangulated from observations with half a
pixel of noise. In the model of all drives, a point is observed in another drive with probability 0.25, like with a real
matcher. A correspondence is correct if it lies within 2 pixels of the projection of the point that the ray through the
reference pixel hits. `right_and_seen` also requires that the point is visible in the target.
"""

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fgsn.config import WorldSettings
from fgsn.correspond.by_position import by_position
from fgsn.correspond.depth_maps import DepthMaps
from fgsn.correspond.from_depth import from_depth
from fgsn.correspond.from_model import from_model
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages
from fgsn.matching.pair import MatchedPair, RefusedPair
from fgsn.matching.triangulate import nearest_to_rays
from fgsn.world.drives import make_camera, stream
from fgsn.world.make import make_world
from fgsn.world.pairs import map_points
from fgsn.world.scene import SceneCamera
from fgsn.world.studio import REFERENCE, camera_at, drive_poses, image_name

PIXELS, NOISE, MATCHED = 2.0, 0.5, 0.25
POINTS_PER_IMAGE, NEIGHBOURS, PURPOSE = 600, 7, 5  # of random numbers
CLASSES = {"vegetation": (21,), "road": (7, 8), "terrain": (22,), "building": (11, 12, 13), "pole, sign": (17, 19, 20),
           "vehicle": (24, 25, 26, 27, 28, 32, 33)}  # fmt: skip


class Truth:
    """Ground truth of a generated town."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.drives = (REFERENCE, *settings.conditions)

    def camera(self, name: str) -> SceneCamera:
        drive, _, file = name.split("/")
        return camera_at(self.settings, drive, int(file.removeprefix("place_").removesuffix(".jpg")))

    def judge(self, pair: MatchedPair) -> np.ndarray:
        """Columns (4, N): error in pixels (NaN for the sky), label, static, visible in the target."""
        here, there = self.camera(pair.reference), self.camera(pair.target)
        world, part = here.cast_pixels(pair.points_ref)
        pixels, _ = there.camera.project(there.pose.transform(world))
        seen = there.visible(np.nan_to_num(world), part)[1]
        errors = np.linalg.norm(pixels - pair.points_tgt, axis=1)
        return np.stack([errors, here.scene.label[part], here.scene.static[part], seen])

    def images(self, drives: tuple[str, ...]) -> PosedImages:
        settings = self.settings
        names = [image_name(drive, place) for drive in drives for place in range(settings.places)]
        poses = [drive_poses(settings, drive) for drive in drives]
        pose = Pose(*(np.concatenate([getattr(one, key) for one in poses]) for key in ("rotation", "translation")))
        return PosedImages(names, [make_camera(settings.size)], np.zeros(len(names), np.int64), pose)

    def model(self, drives: tuple[str, ...]) -> Reconstruction:
        """A map of these drives, similar to the result of structure from motion."""
        settings, images = self.settings, self.images(drives)
        names, pose = images.names, images.camera_from_world
        cameras = {row: _all_static(self.camera(name)) for row, name in enumerate(names)}
        camera, pieces, first = images.cameras[0], [], 0
        for row, name in enumerate(names):
            place, drive = row % settings.places, drives[row // settings.places]
            near = {other: one for other, one in cameras.items() if abs(other % settings.places - place) <= NEIGHBOURS}
            rng = stream(settings.seed, PURPOSE, drive, place)
            image = np.asarray(Image.open(settings.out / "images" / name))
            piece = map_points(image, row, near, POINTS_PER_IMAGE, rng)
            own = piece.track_place // settings.places == row // settings.places
            kept = own | (rng.random((len(piece.points), len(drives)))[
                piece.track_point, piece.track_place // settings.places] < MATCHED)  # fmt: skip
            seen_at = piece.track_pixels + rng.normal(0, NOISE, piece.track_pixels.shape)
            pieces.append((piece.track_point[kept] + first, piece.track_place[kept], seen_at[kept], piece.colours))
            first += len(piece.points)
        point, image, pixels, colours = (np.concatenate(column) for column in zip(*pieces, strict=True))
        points, good = nearest_to_rays(point, camera.rays(pixels), pose[image], first)
        number = np.cumsum(good) - 1
        kept = good[point]
        return Reconstruction(
            **vars(images), points=points[good], colours=colours[good],
            track_point=number[point[kept]], track_image=image[kept], track_pixels=pixels[kept],
        )  # fmt: skip


def _all_static(camera: SceneCamera) -> SceneCamera:
    """The same camera, but with map points also on parked cars."""
    scene = copy.copy(camera.scene)
    scene.static = np.append(np.ones(len(scene.static) - 1, bool), False)
    return SceneCamera(scene, camera.camera, camera.pose)


def report(title: str, found: Iterator[MatchedPair | RefusedPair], truth: Truth) -> dict[str, object]:
    """Run a source, evaluate its correspondences, and print the result."""
    begun, pairs, refused = time.perf_counter(), [], []
    for one in found:
        (pairs if isinstance(one, MatchedPair) else refused).append(one)
    seconds = time.perf_counter() - begun
    errors, label, static, seen = np.concatenate([truth.judge(pair) for pair in pairs], axis=1)
    right = errors < PIXELS
    estimate = np.concatenate([pair.errors for pair in pairs])
    result: dict[str, object] = {
        "pairs": len(pairs), "refused": len(refused), "seconds": round(seconds, 2),
        "points_per_pair": round(len(right) / len(pairs)), "fewest": min(len(pair.errors) for pair in pairs),
        "right": round(float(right.mean()), 4), "right_and_seen": round(float((right & (seen > 0)).mean()), 4),
        "median_error": round(float(np.nanmedian(errors)), 3),
        "p95_error": round(float(np.nanquantile(errors, 0.95)), 3),
        "median_estimate": round(float(np.nanmedian(estimate)), 3), "static": round(float(static.mean()), 4),
    }  # fmt: skip
    classes = {}
    for name, labels in CLASSES.items():
        mine = np.isin(label, labels)
        if mine.any():
            classes[name] = {
                "share": round(float(mine.mean()), 3),
                "right": round(float(right[mine].mean()), 3),
                "right_and_seen": round(float((right & (seen > 0))[mine].mean()), 3),
            }
    print(f"\n{title}: " + ", ".join(f"{key} {value}" for key, value in result.items()))
    for name, values in classes.items():
        print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    for one in refused[:3]:
        print(f"  refused {one.reference} {one.target}: {one.reason}")
    return {**result, "classes": classes}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--places", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 288))
    parser.add_argument("--conditions", nargs="+", default=["autumn", "snow"])
    parser.add_argument("--sources", nargs="+", default=["depth", "position", "model"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = WorldSettings(
        out=options.out, seed=options.seed, places=options.places, size=tuple(options.size),
        conditions=tuple(options.conditions), workers=0,
    )  # fmt: skip
    make_world(settings)
    truth, results = Truth(settings), {}

    if "depth" in options.sources:
        maps = DepthMaps(settings.out / "depth", 0.01)
        results["depth"] = report("depth", from_depth(truth.images(truth.drives), maps, REFERENCE), truth)
    if "position" in options.sources:
        models = {drive: truth.model((drive,)) for drive in truth.drives}
        results["position"] = report("position", by_position(models, REFERENCE), truth)
    if "model" in options.sources:
        results["model"] = report("model", from_model(truth.model(truth.drives), REFERENCE), truth)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
