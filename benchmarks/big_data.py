"""Time and peak memory of steps on large synthetic inputs, which cost little: each step in a process of its own.

    python benchmarks/big_data.py map [--sizes 1000000] [--labels 1000] [--square 16] [--window 0.02]
    python benchmarks/big_data.py files [--sizes 1000 10000 100000] [--points 50]

map: label the points of a map and compare 2000 matches of a query, as `fgsn localize --method ssmc` does; sizes are
numbers of points. Three observations a point; label maps of 1024 x 768 pixels are squares of random labels, others in
every image, so that with squares of 16 pixels there are more labels around a point than in maps of real images.

files: prepare and check a data set, start a training, list and resume a segmentation, measure the label maps; sizes
are numbers of images, of 48 x 36 pixels, two in a pair.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (1024, 768)
OBSERVATIONS, PER_IMAGE = 3, 6000
SMALL, FILE_LABELS = (48, 36), 100


def label_a_map(points: int, folder: Path, options: argparse.Namespace) -> str:
    """Make a labelled map, and weigh matches with it."""
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


def make(images: int, root: Path, options: argparse.Namespace) -> str:
    """Images, correspondences and label maps."""
    from fgsn.data.correspondences import write_correspondences
    from fgsn.inference.label_maps import write_label_map

    rng = np.random.default_rng(0)
    for number in range(images // 2):
        names = [f"{season}/{number // 1000:03d}/{number:06d}.png" for season in ("summer", "winter")]
        for name in names:
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*SMALL[::-1], 3), dtype=np.uint8)).save(path)
            labels = rng.integers(0, FILE_LABELS, SMALL[::-1])
            write_label_map(root / "out" / "labels" / name, labels, FILE_LABELS, source=path)
        here, there = rng.uniform((0, 0), np.array(SMALL) - 1, (2, options.points, 2))
        file = root / "correspondence_data" / f"correspondence_{number:06d}.mat"
        write_correspondences(file, names[0], names[1], here, there, np.zeros(options.points))
    return "the inputs, not a step of fgsn"


def prepare(images: int, root: Path, options: argparse.Namespace) -> str:
    """fgsn prepare."""
    from fgsn.config import PrepareSettings
    from fgsn.data.prepare import prepare as run

    return f"{run(PrepareSettings(dataset=root))['validation_pairs']} validation pairs"


def check(images: int, root: Path, options: argparse.Namespace) -> str:
    """fgsn check."""
    from fgsn.checks.dataset import check_dataset
    from fgsn.config import CheckSettings
    from fgsn.data.dataset import Dataset

    return f"{len(check_dataset(Dataset.open(root), CheckSettings(path=root))['problems'])} lines of problems"


def start(images: int, root: Path, options: argparse.Namespace) -> str:
    """What fgsn train does before the first clustering, and the samples of 100 steps."""
    from fgsn.config import TrainSettings
    from fgsn.data.dataset import Dataset
    from fgsn.training.batches import pair_samples

    data = Dataset.open(root)
    pairs = [(data, path) for path in data.pairs("train")]
    data.pairs("validation")
    settings = TrainSettings(data=(root,), init=root, out=root / "run", crop=65)
    for step in range(100):
        pair_samples(pairs, settings, settings.batch, step, purposes=(1, 2))
    return f"{len(pairs)} pairs"


def segment(images: int, root: Path, options: argparse.Namespace) -> str:
    """List the images, and find that all have their label maps."""
    from fgsn.bench.segmentation import random_model
    from fgsn.config import BenchSettings
    from fgsn.data.images import list_images
    from fgsn.inference.segment import segment_images
    from fgsn.inference.segmenter import Segmenter

    model = random_model(BenchSettings(device="cpu"), "tiny", 65, FILE_LABELS)
    found = segment_images(Segmenter(model, "float32"), list_images(root / "images"), root / "out", {"labels"})
    return f"{found['already_there']} already there"


def evaluate(images: int, root: Path, options: argparse.Namespace) -> str:
    """Read the correspondences of all pairs, and measure the label maps with intervals as fgsn evaluate does."""
    from fgsn.config import EvaluateSettings
    from fgsn.data.correspondences import read_correspondences
    from fgsn.data.dataset import Dataset
    from fgsn.evaluation.measure import measure
    from fgsn.inference.label_maps import read_label_map

    data = Dataset.open(root)
    pairs = [read_correspondences(path, data.images) for path in data.pairs("all")]
    found = measure(
        lambda image: read_label_map(root / "out" / "labels" / data.name(image))[0], pairs, FILE_LABELS,
        data.place, data.condition, EvaluateSettings.resamples,
    )  # fmt: skip
    return f"{found['points_position_controlled']} correspondences"


STEPS = {"map": [label_a_map], "files": [make, prepare, check, start, segment, evaluate]}
SIZES = {"map": (1_000_000,), "files": (1000, 10_000, 100_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=STEPS)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--square", type=int, default=16)
    parser.add_argument("--window", type=float, default=0.02)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--here", nargs=2, help="a step and a folder: measure in this process")
    options = parser.parse_args()
    steps = {step.__name__: step for step in STEPS[options.subject]}
    for size in options.sizes or SIZES[options.subject]:
        if options.here:
            _measure(steps[options.here[0]], size, Path(options.here[1]), options)
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name in steps:
                subprocess.run([sys.executable, *sys.argv, "--sizes", str(size), "--here", name, folder], check=True)


def _measure(
    step: Callable[[int, Path, argparse.Namespace], str], size: int, folder: Path, options: argparse.Namespace
) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    about = step(size, folder, options)
    row = {"step": step.__name__, "size": size, "seconds": round(time.perf_counter() - wall, 1)}
    row["cpu_seconds"] = round(time.process_time() - cpu, 1)
    row["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(row | {"about": about}), flush=True)


if __name__ == "__main__":
    main()
