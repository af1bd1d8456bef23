"""Write the initial networks of configs/small: the base network of the package, and one with random weights.

    python benchmarks/start_models.py --data WORLD --out FOLDER

Batch norms are frozen in training. With fresh ones, the features of a random network would all be similar, and training
would end with a single label. The statistics of its norms are therefore measured once on the training images; no weight
is learnt.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import read_image
from fgsn.inference.model import load
from fgsn.models.pspnet import PSPNet

IMAGES_AT_ONCE = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared data set to measure the batch norms on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = load("world:tiny", "cpu")
    base.save(options.out / "seg.safetensors")
    torch.manual_seed(options.seed)
    network = PSPNet(base.network.architecture)
    dataset = Dataset.open(options.data)
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs("train")]
    images = sorted({image for pair in pairs for image in (pair.reference, pair.target)})
    pixels = torch.stack([torch.from_numpy(read_image(image)) for image in images]).permute(0, 3, 1, 2).float()
    measure_norms(network, base.normalisation.apply(pixels))
    replace(base, network=network, facts={"kind": "random weights"}).save(options.out / "scratch.safetensors")


@torch.no_grad()
def measure_norms(network: PSPNet, images: torch.Tensor) -> None:
    """Set the statistics of all batch norms to their mean over batches of the images."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # cumulative mean over the batches
    network.train()
    for batch in images.split(IMAGES_AT_ONCE):
        network(batch)
    network.eval()


if __name__ == "__main__":
    main()
