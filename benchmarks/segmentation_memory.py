"""Peak memory of segmentation: 1000 labels on images of 12 million pixels, not resized.

    python benchmarks/segmentation_memory.py [--backbone resnet101] [--window 713] [--labels 1000] [--size 4000 3000]
        [--images 2] [--precision auto] [--memory 2]

Prints the peak resident memory of this process, including torch, the network and its 16-bit copy. The baseline of
`fgsn bench` keeps the score of every label at every pixel: 48 GB for such an image, and again while it interpolates.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from fgsn.bench.segmentation import random_model, textures
from fgsn.config import BenchSettings
from fgsn.inference.segment import segment_images
from fgsn.inference.segmenter import faster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--window", type=int, default=713)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--memory", type=float, default=2.0)
    options = parser.parse_args()
    float32 = random_model(BenchSettings(device="cpu"), options.backbone, options.window, options.labels)
    model = faster(float32, options.precision, options.memory)
    began = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        images = textures(Path(folder), tuple(options.size), options.images, seed=0)
        ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        results = segment_images(model, [(path, path.name) for path in images], Path(folder) / "out", {"labels"})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"{results['segmented']} images, {model.batch} windows at once, {wall:.0f} s, {processor:.0f} s of CPU time")
    print(f"peak {peak:.2f} GiB, {ready:.2f} before the first image")


if __name__ == "__main__":
    main()
