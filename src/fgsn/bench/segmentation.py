"""Segmentation from image files to label maps; the baseline processes one crop at a time in float32."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from fgsn.bench.measure import alternating, metrics
from fgsn.config import BenchSettings
from fgsn.data.images import read_image
from fgsn.data.resize import resized_shape
from fgsn.inference.label_maps import read_label_map, write_label_map
from fgsn.inference.model import Model, prepare_device
from fgsn.inference.segment import segment_images
from fgsn.inference.segmenter import Segmenter, chosen_precision
from fgsn.inference.tiles import ramp, starts
from fgsn.inference.upsample import cells_around
from fgsn.models.layers import STRIDE, cells
from fgsn.models.normalisation import SIGNED
from fgsn.models.pspnet import Architecture, PSPNet

LABELS = 100
QUICK: tuple[str, int, tuple[int, int], int] = ("lite", 257, (512, 384), 4)
FULL: tuple[str, int, tuple[int, int], int] = ("resnet101", 713, (1024, 768), 2)
"""Backbone, window, width and height of the images, and their number."""


def segmentation(settings: BenchSettings) -> dict[str, Any]:
    """Time `fgsn segment` and the baseline, and compare their label maps.

    The weights are random. Their scores are closer to each other than those of a trained network, so bfloat16 changes
    more labels.
    """
    backbone, window, size, count = FULL if settings.full else QUICK
    model = random_model(settings, backbone, window)
    precision = chosen_precision(model, "auto")
    segmenters = {name: Segmenter(model, name) for name in dict.fromkeys((precision, "float32"))}
    with tempfile.TemporaryDirectory() as folder:
        images = [(path, path.name) for path in textures(Path(folder), size, count, settings.seed)]

        def ours(name: str) -> dict[str, Any]:
            return segment_images(segmenters[name], images, Path(folder) / name, {"labels"}, overwrite=True)

        networks: list[float] = []

        def baseline() -> None:
            networks.clear()
            for path, name in images:
                labels = baseline_labels(model, read_image(path), networks)
                write_label_map((Path(folder) / "baseline" / "labels" / name).with_suffix(".png"), labels, LABELS)

        methods = {"ours": lambda: ours(precision), "baseline": baseline}
        if precision != "float32":
            methods["float32"] = lambda: ours("float32")
        timed = alternating(methods, settings.rounds, model.device)
        equal = {f"equal_{name}": _equal(Path(folder), name, [name for _, name in images]) for name in segmenters}
    windows = len(starts(size[1], model.window)) * len(starts(size[0], model.window))
    architecture, crops = model.network.architecture, count * windows
    # The weights are read at least once, and the scores of all labels are written once for every cell of a window.
    weights = sum(part.numel() for part in model.network.parameters())
    moved = 4 * (weights + crops * LABELS * cells(model.window) ** 2)
    shapes = f"{count} images {size[0]} x {size[1]}, {windows} windows of {model.window} each, "
    shapes += f"{architecture.backbone}, {LABELS} labels, {precision}"
    operations = crops * window_operations(architecture, model.window)
    row = metrics(timed, shapes, model.device, getattr(torch, precision), operations, moved)
    # With many labels and a small network, the baseline spends most of its time interpolating scores.
    return row | equal | {"images_per_second": count / row["ours_s"], "baseline_network_s": sum(networks)}


def random_model(settings: BenchSettings, backbone: str, window: int, labels: int = LABELS) -> Model:
    """A model with random weights; batch-norm statistics of random images make its features vary over an image."""
    torch.manual_seed(settings.seed)
    network = PSPNet(Architecture(backbone, labels)).requires_grad_(False)
    patches = torch.randn(2, 3, 9, 9).repeat_interleave(16, 2).repeat_interleave(16, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # use the statistics of this batch
    network.train()(patches)
    return Model(network.eval().to(prepare_device(settings.device)), SIGNED, short_side=0, window=window)


def textures(folder: Path, size: tuple[int, int], count: int, seed: int) -> list[Path]:
    """Write `count` synthetic JPEG images of `size` (width, height): smooth coloured patches with noise."""
    random = np.random.default_rng(seed)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) + random.normal(0, 6, (size[1], size[0], 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
    return paths


@torch.inference_mode()
def baseline_labels(model: Model, pixels: np.ndarray, networks: list[float] | None = None) -> np.ndarray:
    """The label map (H, W) of an image, computed in float32, one crop at a time.

    The scores are accumulated in NumPy. The score of every label is then interpolated at every pixel of the image, and
    the largest wins. The seconds of each call of the network are appended to `networks`.
    """
    networks = [] if networks is None else networks
    image = model.prepared(pixels)
    height, width = image.shape[-2:]
    total, share = (np.zeros((n, cells(height), cells(width)), np.float32) for n in (model.clusters, 1))
    for top in starts(height, model.window):
        for left in starts(width, model.window):
            tile = image[:, top : top + model.window, left : left + model.window]
            began = time.perf_counter()
            logits = model.network(tile[None]).logits[0].cpu().numpy()
            networks += [time.perf_counter() - began]
            weights = ramp(*logits.shape[1:]).numpy()
            y, x = top // STRIDE, left // STRIDE
            place = np.s_[:, y : y + logits.shape[1], x : x + logits.shape[2]]
            total[place] += logits * weights
            share[place] += weights
    scores = torch.from_numpy(total / share).float()
    seen = resized_shape(pixels.shape, model.short_side)
    for axis in (0, 1):
        before, behind, part = cells_around(pixels.shape[axis], seen[axis], scores.shape[1 + axis])
        part = part[:, None] if axis == 0 else part
        scores = torch.lerp(scores.index_select(1 + axis, before), scores.index_select(1 + axis, behind), part)
    return scores.numpy().argmax(axis=0)


def window_operations(architecture: Architecture, side: int) -> int:
    """Floating-point operations of the network for one window."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        PSPNet(architecture).eval()(torch.empty(1, 3, side, side))
    return counter.get_total_flops()


def _equal(folder: Path, one: str, names: list[str]) -> float:
    """Share of pixels whose label equals that of the baseline."""
    shares = []
    for name in names:
        path = Path("labels") / Path(name).with_suffix(".png")
        shares.append(np.mean(read_label_map(folder / one / path)[0] == read_label_map(folder / "baseline" / path)[0]))
    return float(np.mean(shares))
