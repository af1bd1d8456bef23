"""Tiny data, made on the fly and shared by all tests."""

import gc
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

# Shapes that stand in the signatures of these modules are checked in every test; must come before their first import.
# Not those of layers and blocks, which are called a hundred times for every image.
NETWORKS = [f"fgsn.models.{name}" for name in ("pspnet", "predictor", "normalisation", "timm_net")]
CHECKED = [*NETWORKS, "fgsn.clustering", "fgsn.training.losses", "fgsn.training.feature_loss"]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

from fgsn.data.correspondences import write_correspondences  # noqa: E402
from fgsn.inference.model import Model  # noqa: E402
from fgsn.models.normalisation import SIGNED  # noqa: E402
from fgsn.models.pspnet import Architecture, PSPNet  # noqa: E402

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start
# How busy the machine is says nothing about the code. Property tests draw the same examples every time;
# `make test-slow` searches with new ones (HYPOTHESIS_PROFILE=search), and what it finds becomes an @example.
settings.register_profile("fgsn", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fgsn"))


def pytest_collection_finish() -> None:
    """Keep what has been imported out of the garbage collector's sight, which would look through it again and again."""
    gc.freeze()


@contextmanager
def _at_work(folder: Path) -> Iterator[None]:
    script = (
        "import sys; from pathlib import Path; from fgsn.files import FolderLock; "
        "claim = FolderLock(Path(sys.argv[1])); claim.lock_shared(); print('there', flush=True); sys.stdin.read()"
    )
    with Popen([sys.executable, "-c", script, folder], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        yield
        other.communicate()


@pytest.fixture(scope="session")
def at_work() -> Callable[[Path], AbstractContextManager[None]]:
    """Another process that works in a folder, for as long as the body lasts: `with at_work(folder)`."""
    return _at_work


def write_image(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
    """A coloured texture; another seed gives another image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_pair(root: Path, name: str, reference: str, target: str, count: int = 40, seed: int = 0) -> Path:
    """A correspondence file with points that cover 64 x 48 pixels, and its images where they are missing."""
    for image in (reference, target):
        if not (root / "images" / image).exists():
            write_image(root / "images" / image, seed=zlib.crc32(image.encode()))
    random = np.random.default_rng(seed)
    points = random.uniform((0, 0), (63, 47), (count, 2)).round(2)
    path = root / "correspondence_data" / name
    write_correspondences(path, reference, target, points, points * 0.5 + 10, random.uniform(0, 1, count))
    return path


def write_dataset(root: Path, places: int = 4, conditions: tuple[str, ...] = ("snow", "night")) -> Path:
    """A data set in the authors' layout: one reference image per place, one target per place and condition."""
    for place in range(places):
        for number, condition in enumerate(conditions):
            name = f"correspondence_{condition}_{place:03d}.mat"
            images = (f"{folder}/c0/{place:03d}.png" for folder in ("reference", condition))
            write_pair(root, name, *images, seed=place * 10 + number)
    return root


CAMVID_COLOURS = np.array([[230, 40, 40], [40, 230, 40], [40, 40, 230]], np.uint8)


def write_tiny_camvid(root: Path, images: int = 4, size: tuple[int, int] = (96, 72)) -> Path:
    """Blocks of three colours, each of which is a class; a border is void."""
    rng = np.random.default_rng(0)
    lines = []
    for n in range(images):
        classes = rng.integers(0, 3, (3, 4)).repeat(size[1] // 3, axis=0).repeat(size[0] // 4, axis=1)
        label = classes.astype(np.uint8)
        label[:3] = 11
        noise = rng.integers(-20, 20, (size[1], size[0], 3))
        for folder, pixels in (
            ("images", np.clip(CAMVID_COLOURS[classes] + noise, 0, 255).astype(np.uint8)),
            ("labels", label),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{n}.png")
        lines.append(f"images/{n}.png labels/{n}.png\n")
    (root / "train.txt").write_text("".join(lines[:-1]))
    (root / "val.txt").write_text(lines[-1])
    return root


def tiny_model(classes: int = 5, window: int = 65, seed: int = 0, names: bool = True) -> Model:
    """A model with the `tiny` backbone and random weights; a base network with names of classes, unless told not."""
    torch.manual_seed(seed)
    network = PSPNet(Architecture("tiny", classes, feature_dim=16, aux_dim=8)).eval().requires_grad_(False)
    # Batch norms as after some training: with fresh ones the features of a random network are nearly constant.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)
    found = tuple(f"class {n}" for n in range(classes)) if names else None
    return Model(network, SIGNED, short_side=0, window=window, classes=found)


def golden_uniform(seed: int, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Numbers in [low, high) as the golden data were made of: a 32-bit mixing function of index and seed."""
    numbers = np.empty(math.prod(shape))
    for first in range(0, len(numbers), 1 << 15):  # what a processor's cache holds
        block = numbers[first : first + (1 << 15)]
        x = np.arange(first + 1, first + len(block) + 1, dtype=np.uint32)
        x = x * np.uint32(0x9E3779B1) + np.uint32((seed + 1) * 0x85EBCA6B % 2**32)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        x ^= x >> np.uint32(16)
        block[:] = low + (high - low) * (x / 2.0**32)
    return numbers.reshape(shape)


@pytest.fixture(scope="session")
def golden() -> Callable[..., np.ndarray]:
    return golden_uniform


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    return tiny_model


@pytest.fixture(scope="session")
def make_image() -> Callable[..., Path]:
    return write_image


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Path]:
    return write_pair


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Path]:
    return write_dataset


@pytest.fixture(scope="session")
def write_camvid() -> Callable[..., Path]:
    return write_tiny_camvid
