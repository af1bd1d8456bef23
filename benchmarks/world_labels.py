"""Label metrics on the synthetic town, at places never trained on: base classes, K labels without and with L_corr.

    python benchmarks/world_labels.py --out FOLDER --seeds 1 2 3

Runs `fgsn demo` for each seed and prints one table; --json also writes it to a file.
"""

import argparse
import json
from pathlib import Path

from fgsn.cli import show
from fgsn.config import DemoSettings
from fgsn.demo.demo import demo

METRICS = ("information_bits_same_view", "information_bits_permutation", "kappa", "agreement", "match_lift")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {}
    for seed in options.seeds:
        labels = demo(DemoSettings(out=options.out / f"seed{seed}", seed=seed))["labels"]
        for name, metrics in labels.items():
            rows[f"seed {seed}, {name}"] = {key: metrics[key] for key in METRICS}
    show({"synthetic town": rows})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
