"""Label metrics on the synthetic town, at places never trained on: blind grid, base classes, labels of two trainings.

    python benchmarks/world_labels.py --out FOLDER --seeds 1 2 3

Runs `fgsn demo` for each seed and prints one table; --json also writes it to a file.
"""

import argparse
import json
from pathlib import Path

from label_rows import label_row

from fgsn.cli import show
from fgsn.config import DemoSettings
from fgsn.demo.demo import demo
from fgsn.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {}
    for seed in options.seeds:
        out = options.out / f"seed{seed}"
        demo(DemoSettings(out=out, seed=seed))
        for name, metrics in read_json(out / "results.json")["labels"].items():
            rows[f"seed {seed}, {name}"] = label_row(metrics)
    show({"synthetic town": rows})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
