"""Difficulty of the synthetic town: share of correct SIFT matches between two drives, per condition.

    python benchmarks/world_difficulty.py [--seed 1] [--places 10] [--size 512 384] [--json FILE]

A match (mutual nearest neighbours of SIFT descriptors) is correct if it lies within 3 pixels of the projection of the
point that the reference pixel shows. 'reference2' is a second drive in the weather of the reference, with its own
trajectory and cars: an upper bound for matching. Requires pycolmap.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pycolmap

from fgsn.config import CONDITIONS, WorldSettings
from fgsn.progress import tracked
from fgsn.world.scene import SceneCamera
from fgsn.world.studio import REFERENCE, render_image

PIXELS = 3.0


def features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SIFT key points (N, 2), pixel centres at integers, and unit descriptors (N, 128) of an RGB image."""
    grey = (image.astype(np.float32) @ [0.299, 0.587, 0.114] / 255).astype(np.float32)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = 1
    sift = pycolmap.Sift(options, device=pycolmap.Device.cpu)
    points, descriptors = sift.extract(np.ascontiguousarray(grey))
    norm = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return points[:, :2].astype(np.float64) - 0.5, descriptors / np.maximum(norm, 1e-9)


def matches(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mutual nearest neighbours (M, 2) between unit descriptors."""
    if not len(one) or not len(other):
        return np.zeros((0, 2), int)
    similarity = one @ other.T
    forth, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = back[forth] == np.arange(len(one))
    return np.column_stack([np.nonzero(mutual)[0], forth[mutual]])


def right(reference: SceneCamera, target: SceneCamera, points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which matches (N,) between pixels of two images are correct."""
    world, part = reference.cast_pixels(points)
    surface = part >= 0
    expected, seen = target.visible(np.where(surface[:, None], world, 1e6), part)
    return surface & seen & (np.linalg.norm(expected - others, axis=1) <= PIXELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--places", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 384))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    size, places = (options.size[0], options.size[1]), range(options.places)
    world = WorldSettings(out=Path(), seed=options.seed, places=options.places, size=size)  # nothing is written
    start = time.monotonic()
    base = []
    for place in places:
        camera, rendering = render_image(world, REFERENCE, place)
        base.append((camera, *features(rendering.image)))
    results = {}
    for drive in tracked(("reference2", *CONDITIONS), "drives", 1 + len(CONDITIONS)):
        shares, counts, totals = [], [], []
        for place in places:
            camera, rendering = render_image(world, drive, place)
            reference, points, descriptors = base[place]
            others, other_descriptors = features(rendering.image)
            pairs = matches(descriptors, other_descriptors)
            good = right(reference, camera, points[pairs[:, 0]], others[pairs[:, 1]])
            totals.append(len(pairs))
            counts.append(int(good.sum()))
            shares.append(good.mean() if len(good) else 0.0)
        results[drive] = {
            "matches": round(float(np.mean(totals)), 1),
            "right": round(float(np.mean(counts)), 1),
            "share": round(float(np.mean(shares)), 4),
        }
    best = results["reference2"]
    print(f"{'reference to':12} {'matches':>8} {'right':>7} {'share':>6} {'of the best':>12}")
    for drive, row in results.items():
        relative = row["share"] / max(best["share"], 1e-9)
        print(f"{drive:12} {row['matches']:8.0f} {row['right']:7.1f} {row['share']:6.3f} {relative:12.2f}")
    report = {"seed": options.seed, "places": options.places, "size": list(size), "pixels": PIXELS, "drives": results}
    print(json.dumps(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
