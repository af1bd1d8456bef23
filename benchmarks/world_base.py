"""Train the networks that come with the package, both `tiny`, on synthetic towns.

    python benchmarks/world_base.py --out FOLDER [--install]

`world:tiny` learns classes from labelled images. Like the usual labelled data sets, they show only the reference
condition and sun. `world:labels` starts from it and learns fine-grained labels from correspondences across all
conditions, four times, each from the network before: in six towns seen ahead, twice in these and two seen 45 degrees to
the right, then also in two more ahead and one to each side. The seeds of the towns are not used for any reported
result. About two and a half hours on two cores.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from fgsn.config import PrepareSettings, PretrainSettings, TrainSettings, WorldSettings
from fgsn.data.prepare import prepare
from fgsn.inference.packaged import packaged
from fgsn.training.pretrain import pretrain
from fgsn.training.train import train
from fgsn.world import make_world

LABELLED = range(9000, 9008)
HEADINGS = dict.fromkeys(range(9100, 9106), 0) | {9106: 45, 9107: 45, 9108: 0, 9109: 0, 9110: 45, 9111: -45}
"""Of each town with correspondences: degrees by which the camera looks to the right."""
CLUSTERS = 200
ROUNDS: tuple[dict[str, Any], ...] = (
    {"seeds": range(9100, 9106), "iterations": 1500, "seed": 5},
    {"seeds": range(9100, 9108), "iterations": 2400, "seed": 6},
    {"seeds": range(9100, 9108), "iterations": 2400, "seed": 7},
    {"seeds": range(9100, 9112), "iterations": 2400, "seed": 8},
)


def train_classes(out: Path, iterations: int) -> Path:
    """The run folder of `world:tiny`."""
    worlds = [out / f"labelled{seed}" for seed in LABELLED]
    for seed, world in zip(LABELLED, worlds, strict=True):
        make_world(WorldSettings(out=world, seed=seed, places=14, size=(384, 288), conditions=("sun",)))
    run = out / "classes"
    results = pretrain(
        PretrainSettings(
            data=tuple(f"world:{world}" for world in worlds),
            out=run,
            backbone="tiny",
            iterations=iterations,
            batch=8,
            crop=257,
            short_side=288,
            lr=0.05,
            backbone_lr=1.0,
            resume=(run / "config.yaml").exists(),
        )
    )
    print(f"mean IoU {results['mean_iou']:.3f}, pixel accuracy {results['pixel_accuracy']:.3f}")
    return run


def train_labels(out: Path, start: Path) -> Path:
    """The run folder of `world:labels`."""
    for seed, heading in HEADINGS.items():
        world = out / f"world{seed}"
        make_world(WorldSettings(out=world, seed=seed, places=24, size=(384, 288), heading=heading))
        prepare(PrepareSettings(dataset=world, split="end", validation_share=0))
    for number, given in enumerate(ROUNDS):
        run = out / f"labels{number}"
        train(
            TrainSettings(
                data=tuple(out / f"world{seed}" for seed in given["seeds"]),
                init=start,
                out=run,
                clusters=CLUSTERS,
                iterations=given["iterations"],
                batch=4,
                crop=257,
                seed=given["seed"],
                resume=(run / "config.yaml").exists(),
            )
        )
        start = run
    return start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=1200, help="of the classes")
    parser.add_argument("--install", action="store_true", help="copy the models into the package")
    options = parser.parse_args()
    classes = train_classes(options.out, options.iterations)
    labels = train_labels(options.out, classes)
    if options.install:
        for name, run in (("world:tiny", classes), ("world:labels", labels)):
            shutil.copyfile(run / "model.safetensors", packaged(name))


if __name__ == "__main__":
    main()
