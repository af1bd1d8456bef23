"""k-means compared with faiss: objective and time per seed, on clustered data of the size used in training.

OMP_NUM_THREADS=2 python benchmarks/codebook_against_faiss.py [--samples 20000] [--dim 256] [--clusters 100] [--seeds 8]

The two alternate. Reports wall time and CPU time of all threads; other programs disturb CPU time less.
"""

import argparse
import statistics
import time

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from fgsn.clustering.kmeans import kmeans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    ratios, clocks, processors = [], [], []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(2 * options.clusters, options.dim))
        samples = centres[rng.integers(len(centres), size=options.samples)]
        samples = samples + 1.5 * rng.normal(size=samples.shape)
        samples = (samples / np.linalg.norm(samples, axis=1, keepdims=True)).astype(np.float32)
        began = now()
        oracle = faiss.Kmeans(
            options.dim, options.clusters, niter=20, seed=seed, max_points_per_centroid=10**7, spherical=False
        )
        oracle.train(samples)
        their_time = now() - began
        theirs = float(oracle.index.search(samples, 1)[0].sum(dtype=np.float64))
        began = now()
        ours = kmeans(torch.from_numpy(samples), options.clusters, 20, torch.Generator().manual_seed(seed))
        our_time = now() - began
        clock, processor = their_time / our_time
        clocks.append(clock)
        processors.append(processor)
        ratios.append(ours.objective[-1] / theirs)
        print(
            f"seed {seed}: ours {ours.objective[-1]:.1f}, faiss {theirs:.1f}, ratio {ratios[-1]:.4f}; "
            f"{our_time[0]:.2f} s, faiss {their_time[0]:.2f} s, "
            f"{clock:.2f} times ours, CPU time {processor:.2f} times"
        )
    print(
        f"worst ratio {max(ratios):.4f}, better in {sum(r < 1 for r in ratios)} of {len(ratios)}; "
        f"faiss takes {statistics.median(clocks):.2f} times as long, "
        f"CPU time {statistics.median(processors):.2f} times"
    )


def now() -> NDArray[np.float64]:
    """Wall time and CPU time in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    main()
