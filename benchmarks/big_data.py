"""Time and peak memory of steps on large synthetic inputs, which cost little: each in a process of its own.

    python benchmarks/big_data.py map [--sizes 1000000] [--labels 1000] [--square 16] [--window 0.02]

map: label the points of a map and compare 2000 matches of a query, as `fgsn localize --method ssmc` does; sizes are
numbers of points. Three observations a point; label maps of 1024 x 768 pixels are squares of random labels, others in
every image, so that with squares of 16 pixels there are more labels around a point than in maps of real images.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = (1024, 768)
OBSERVATIONS, PER_IMAGE = 3, 6000


def label_map_of_points(points: int, folder: Path, options: argparse.Namespace) -> str:
    """Make a labelled map, and weigh matches with it; returns what it is like."""
    from fgsn.geometry.camera import Camera
    from fgsn.geometry.colmap import Reconstruction
    from fgsn.geometry.pose import Pose
    from fgsn.inference.label_maps import write_label_map
    from fgsn.localization.labelled_map import make_labelled_map

    rng, count = np.random.default_rng(0), points * OBSERVATIONS
    images = -(-count // PER_IMAGE)
    names = [f"{number:05d}.jpg" for number in range(images)]
    for name in names:
        write_label_map((folder / name).with_suffix(".png"), _squares(rng, options), options.labels)
    poses = Pose(np.tile(np.eye(3), (images, 1, 1)), rng.normal(size=(images, 3)))
    model = Reconstruction(
        names, [Camera(*SIZE, 800, 800, 511.5, 383.5)], np.zeros(images, np.int64), poses,
        rng.normal((0, 0, 20), size=(points, 3)), np.zeros((points, 3), np.uint8),
        np.arange(count) // OBSERVATIONS, rng.integers(0, images, count), rng.uniform((0, 0), SIZE, (count, 2)),
    )  # fmt: skip
    labelled = make_labelled_map(model, folder, label_window=options.window)
    assert labelled.histograms is not None
    stays = np.ones(options.labels, bool)
    pixels = rng.uniform((0, 0), SIZE, (2000, 2))
    labelled.histograms.similarity(_squares(rng, options), pixels, np.arange(2000) * (points // 2000), stays)
    return f"{len(labelled.histograms.labels) / points:.1f} labels around a point"


def _squares(rng: np.random.Generator, options: argparse.Namespace) -> np.ndarray:
    small = rng.integers(0, options.labels, (-(-SIZE[1] // options.square), -(-SIZE[0] // options.square)))
    return small.repeat(options.square, axis=0).repeat(options.square, axis=1)[: SIZE[1], : SIZE[0]]


SUBJECTS = {"map": (label_map_of_points, (1_000_000,))}
"""What is done at a size, and the sizes by default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--square", type=int, default=16)
    parser.add_argument("--window", type=float, default=0.02)
    parser.add_argument("--here", action="store_true", help="measure in this process, for one size")
    options = parser.parse_args()
    run, sizes = SUBJECTS[options.subject]
    for size in options.sizes or sizes:
        if not options.here:
            subprocess.run([sys.executable, *sys.argv, "--sizes", str(size), "--here"], check=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time(), time.perf_counter()
            about = run(size, Path(folder), options)
            cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{options.subject} {size}: {wall:.0f} s, {cpu:.0f} s of CPU, peak {peak:.2f} GiB; {about}", flush=True)


if __name__ == "__main__":
    main()
