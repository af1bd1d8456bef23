"""Train the base network of the package: `tiny`, on labelled images of synthetic towns in fair weather.

    python benchmarks/world_base.py --out FOLDER [--install]

Like the usual labelled data sets, its training images show only the reference condition and sun. The seeds of its towns
are not used for any reported result.
"""

import argparse
import shutil
from pathlib import Path

from fgsn.config import PretrainSettings, WorldSettings
from fgsn.inference.import_model import world_base
from fgsn.training.pretrain import pretrain
from fgsn.world import make_world

SEEDS = range(9000, 9008)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=1200)
    parser.add_argument("--install", action="store_true", help="copy the model into the package")
    options = parser.parse_args()
    worlds = [options.out / f"world{seed}" for seed in SEEDS]
    for seed, world in zip(SEEDS, worlds, strict=True):
        make_world(WorldSettings(out=world, seed=seed, places=14, size=(384, 288), conditions=("sun",)))
    run = options.out / "run"
    results = pretrain(
        PretrainSettings(
            data=tuple(f"world:{world}" for world in worlds),
            out=run,
            backbone="tiny",
            iterations=options.iterations,
            batch=8,
            crop=257,
            short_side=288,
            lr=0.05,
            backbone_lr=1.0,
            resume=(run / "config.yaml").exists(),
        )
    )
    print(f"mean IoU {results['mean_iou']:.3f}, pixel accuracy {results['pixel_accuracy']:.3f}")
    if options.install:
        shutil.copyfile(run / "model.safetensors", world_base())


if __name__ == "__main__":
    main()
