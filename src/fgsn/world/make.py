"""Generate the synthetic town: render images in parallel, then write the map, the lists and dataset.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.config import WorldSettings
from fgsn.data.completed import completed_results
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import MOVED_LIST
from fgsn.data.motion import PointMotion
from fgsn.files import FolderLock, write_json, write_text, write_yaml
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.processes import Workers
from fgsn.progress import Meter
from fgsn.world import studio
from fgsn.world.drives import NOISE, make_camera, stream
from fgsn.world.lists import write_lists
from fgsn.world.pairs import MapPiece
from fgsn.world.studio import REFERENCE, image_name, place_name

_FREE = ("out", "workers", "device")  # settings that do not change the files


def make_world(settings: WorldSettings) -> dict[str, object]:
    """Generate the synthetic town as a data set in `settings.out`; existing files are not generated again.

    Returns:
        Counts: places, images, correspondences, moved_pairs, map_points; and how far corresponding points move in the
        image: motion_median_percent, motion_p90_percent (of its width).

    Raises:
        FgsnError: the folder contains a town with other settings, or other files.
    """
    root = settings.out
    made_with = {key: value for key, value in settings.as_dict().items() if key not in _FREE}
    done = completed_results(root, made_with, "world")
    if done is not None:
        return done
    _lock = FolderLock(root).require()
    write_yaml(root / "config.yaml", settings.as_dict())
    drives = (REFERENCE, *settings.conditions)
    jobs = [(settings, drive, place) for drive in drives for place in range(settings.places)]
    moved_jobs = jobs if settings.moved_pairs else []
    steps, moved = len(jobs) + len(moved_jobs) + settings.places, []
    with Workers(settings.workers) as workers, Meter("world", steps, unit=" images") as meter:
        for _ in workers.run(studio.make_image, jobs):
            meter.step()
        for files in workers.run(studio.make_moved_pairs, moved_jobs):
            moved += files
            meter.step("pairs")
        pieces = []
        for piece in workers.run(studio.make_map_piece, [(settings, place) for place in range(settings.places)]):
            pieces.append(piece)
            meter.step("map")
    map_size = _write_map(settings, pieces)
    for condition in settings.conditions:
        names = [image_name(condition, place) for place in range(settings.places)]
        rng = stream(settings.seed, NOISE, condition)
        write_lists(root, condition, names, make_camera(settings.size), studio.drive_poses(settings, condition), rng)
    if moved:
        write_text(root / MOVED_LIST, "".join(f"{file}\n" for file in sorted(moved)))
    pairs = [studio.image_files(*job)["pairs"] for job in jobs if job[1] != REFERENCE]
    pairs += [root / "correspondence_data" / file for file in moved]
    points, motion = _count(pairs, settings.size)
    results: dict[str, object] = {
        "places": settings.places,
        "images": len(jobs),
        "correspondences": points,
        "moved_pairs": len(moved),
        **motion.metrics(),
        "map_points": map_size,
    }
    write_json(root / "results.json", results)
    write_yaml(root / "dataset.yaml", _description(settings, made_with, results))
    return results


def _count(pairs: Sequence[Path], size: tuple[int, int]) -> tuple[int, PointMotion]:
    """The number of points of all pairs, and how far they move."""
    points, motion = 0, PointMotion()
    for path in pairs:
        pair = read_correspondences(path)
        points += len(pair.points_ref)
        motion.add(pair.points_ref, pair.points_tgt, (size, size))
    return points, motion


def _write_map(world: WorldSettings, pieces: Sequence[MapPiece]) -> int:
    """Join the map points of all places and write sparse/; returns the number of points."""
    first = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    model = Reconstruction(
        names=[image_name(REFERENCE, place) for place in range(world.places)],
        cameras=[make_camera(world.size)],
        camera_of=np.zeros(world.places, np.int64),
        camera_from_world=studio.drive_poses(world, REFERENCE),
        points=np.concatenate([piece.points for piece in pieces]),
        colours=np.concatenate([piece.colours for piece in pieces]),
        track_point=np.concatenate(
            [piece.track_point + start for piece, start in zip(pieces, first[:-1], strict=True)]
        ),
        track_image=np.concatenate([piece.track_place for piece in pieces]),
        track_pixels=np.concatenate([piece.track_pixels for piece in pieces]),
    )
    write_model(world.out / "sparse", model)
    return len(model.points)


def _description(settings: WorldSettings, made_with: dict[str, Any], results: dict[str, object]) -> dict[str, object]:
    camera = make_camera(settings.size)
    drives = (REFERENCE, *settings.conditions)
    return {
        "name": f"synthetic town {settings.seed}",
        "seed": settings.seed,
        "reference": REFERENCE,
        "conditions": list(settings.conditions),
        "cameras": {
            "c0": {
                "model": "PINHOLE",
                "width": camera.width,
                "height": camera.height,
                "params": [float(value) for value in camera.parameters],
            }
        },
        "metres_per_unit": 1.0,
        "frames": {
            "world": "metres, right-handed, z up; the road lies at z = 0",
            "camera": "x right, y down, z forward",
            "poses": "camera_from_world, quaternion scalar first",
            "pixels": "pixel centres at integers in .mat files; at +0.5 in params, sparse/ and queries/",
            "depth": "along the optical axis in centimetres, 16 bits, 0 = none",
            "up": [0, 0, 1],
        },
        "made_with": made_with,
        "results": results,
        "places": {image_name(drive, place): place_name(place) for drive in drives for place in range(settings.places)},
    }
