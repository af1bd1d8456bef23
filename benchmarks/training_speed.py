"""Seconds per pair of a training step, for ours and for the steps of the published code, and peak memory.

    OMP_NUM_THREADS=2 python benchmarks/training_speed.py [--backbone lite] [--side 257] [--batch 2] [--accumulate 1]
        [--precision bfloat16|float32] [--compile] [--rounds 5] [--device cpu|cuda] [--ours-only] [--json FILE]

The two alternate. `processor_ratio` compares CPU times, which other programs on the machine disturb less. Memory is the
peak of the whole process; with --ours-only that is the peak of our step.
"""

import argparse
import json
import os
import resource
from pathlib import Path

import torch

from fgsn.bench.training import training_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--side", type=int, default=257)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--compile", dest="compiled", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = vars(parser.parse_args())
    path = options.pop("json")
    row = training_step(**options)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        row["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    row |= {"memory_gib": memory, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    text = json.dumps(row, indent=2)
    print(text)
    if path:
        path.write_text(text + "\n")


if __name__ == "__main__":
    main()
