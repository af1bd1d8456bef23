"""Every page can be followed: its commands and programs run, in their order, on tiny data and with few steps."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import plain_scene
import replicas
from fgsn import start
from fgsn.bench import segmentation
from fgsn.cli import main
from fgsn.correspond import from_images as by_appearance
from fgsn.demo import demo
from fgsn.inference.model import load
from fgsn.models import timm_net
from pages import PAGES, ROOT, blocks, commands, load_script, snippets, title

NOT_RUN = {
    "make": "these tests are a part of it; tests/test_docs.py knows its targets",
    "python benchmarks/": "minutes and more; tests/test_docs.py has every script parse its flags",
    "python scripts/make_reference.py": "it would write into docs/; tests/test_docs.py compares what it makes",
    "fgsn bench --full": "minutes; tests/bench/ runs every subject",
}
"""Commands that begin so are not run, and why."""


@dataclass(frozen=True)
class Reader:
    """Who follows a page: what they have before, and what is smaller for them."""

    town: Mapping[str, str] = field(default_factory=dict)
    """Their files: parts of a small synthetic town."""
    has: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    """Their other files and folders, and what makes them."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Words of the page, and theirs."""
    adds: Mapping[str, str] = field(default_factory=dict)
    """Flags that they add, by command; the last one counts."""
    finds: tuple[str, ...] = ()
    """What is there at the end, beside what every --out names."""
    doubts: bool = False
    """Whether `fgsn check` finds something to look at, and ends with 1."""


def network(path: Path) -> None:
    """The base network of the synthetic town, for small images; a file, or a run folder."""
    model = replace(load("world:tiny", "cpu"), short_side=0, window=65)
    model.save(path if path.suffix else path / "model.safetensors")


def experiments(path: Path) -> None:
    """The list of runs that configs/README.md shows."""
    [(_, text)] = blocks(ROOT / "configs" / "README.md", "yaml")
    little = "iterations: 2, batch: 1, crop: 65, features_per_image: 100, rounds: 1, scales: [1]"
    path.write_text(text.replace("iterations: 400", little))


def images(folder: Path) -> None:
    """Four places in summer and, from a step aside and in other light, in winter."""
    for place in range(4):
        rng = np.random.default_rng(place)
        scene = sum(
            amount * ndimage.zoom(rng.uniform(-1, 1, (220 // side + 2, 290 // side + 2, 3)), (side, side, 1), order=1)
            [:220, :290] for side, amount in ((40, 60), (12, 50), (5, 40))
        )  # fmt: skip
        for condition, (aside, gain) in {"summer": (20, 1.0), "winter": (26, 0.7)}.items():
            view = np.clip(128 + gain * scene[20:200, aside : aside + 240], 0, 255).astype(np.uint8)
            (folder / condition).mkdir(parents=True, exist_ok=True)
            Image.fromarray(view).save(folder / condition / f"place{place}.jpg", quality=92)


def prepared(folder: Path) -> None:
    """A prepared data set with annotated images."""
    replicas.cmu(folder)
    run(["fgsn", "prepare", str(folder)])


def run(words: list[str], codes: tuple[int, ...] = (0,)) -> None:
    """Run a command in this process."""
    with pytest.raises(SystemExit) as stop:
        main(words[1:])
    assert stop.value.code in codes, shlex.join(words)


LITTLE = {
    "world": "--places 3 --size 96 72 --conditions snow --points 200 --workers 0",
    "correspond": "--workers 0 --split random",
    "check": "--decode 2",
    "pretrain": "--iterations 2 --batch 2 --crop 65 --short-side 72",
    "train": "--clusters 5 --iterations 2 --batch 1 --crop 65 --features-per-image 100 --short-side 96 --rounds 1 "
    "--scales 1",
    "start": "--minutes 0.001 --clusters 5",
    "evaluate": "--resamples 0",
    "localize": "--matcher xfeat --retrieved 2 --workers 0",
    "track": "--particles 100",
    "convert-vistas": "--workers 0",
    "bench": "--rounds 1",
}
"""Flags that make each command quick; a reader's own come after them."""
SMALL = demo.Size(4, (256, 192), ("snow", "night"), clusters=5, iterations=2, batch=1, crop=65)

READERS = {
    "README.md": Reader(
        has={"base": network, "PHOTOS": images, "CAMVID": replicas.camvid},
        instead={
            "street.jpg": "PHOTOS/winter/place0.jpg",
            "pair.mat": "DATASET/correspondence_data/correspondence_winter_place0_place0.mat",
        },
        adds={"correspond": "--matcher xfeat"},  # which `start` took as well
        finds=("labels/overlay/winter/place0.jpg", "pictures/suspect_00.png", "WORLD/corr_train.txt",
               "final/model.safetensors", "metrics/results.json"),
    ),
    "docs/tour.md": Reader(
        finds=("demo/report.html", "night/overlay/**/*.jpg", "pictures/*.png", "run/report.html"),
        doubts=True,
    ),
    "docs/own_images.md": Reader(
        has={"PHOTOS": plain_scene.write_images, "models": plain_scene.write_models,
             "lists": plain_scene.write_lists},
        instead={
            "summer=MODEL1": "summer=models/summer", "winter=MODEL2": "winter=models/winter",
            "CAMERAS.txt": "lists/intrinsics.txt", "POSES.txt": "lists/summer.txt lists/winter.txt",
            "DEPTH": "lists/depth",
        },
        adds={"correspond": "--pairs order --depth-unit 1"},
        finds=("DATASET/queries/winter.txt", "DATASET/truth/winter.txt", "DATASET/refused.csv", "pictures/random_*.png",
               "pictures/coverage.png", "labels/overlay/winter/**/*.jpg", "run/report.html"),
    ),
    "docs/from_hloc.md": Reader(
        town={
            "images": "images",
            "outputs/sfm_superpoint+lightglue": "hloc/sfm",
            "outputs/pairs-query-netvlad20.txt": "hloc/pairs.txt",
            "outputs/feats-superpoint-n4096-r1024.h5": "hloc/features.h5",
            "outputs/feats-superpoint-n4096-r1024_matches-superpoint-lightglue.h5": "hloc/matches.h5",
            "queries_with_intrinsics.txt": "queries/sun.txt",
        },
        has={"run": network},
        instead={"X": "0", "Y": "0", "Z": "1"},
        finds=("ssmc.txt", "ssmc.results.json", "p3p.txt", "augmented/features.h5", "pairs-query-labels10.txt",
               "priors.txt", "gsmc.txt"),
    ),
    "docs/localization.md": Reader(
        town={
            "IMAGES": "images", "MODEL": "sparse", "QUERIES.txt": "queries/sun.txt", "TRUTH.txt": "truth/sun.txt",
            "hloc": "hloc", "hloc/queries_with_intrinsics.txt": "queries/sun.txt", "ODOMETRY.txt": "odometry/sun.txt",
            "START.txt": "truth/sun.txt", "DATASET": ".",
        },
        has={"run": network},
        finds=("poses.txt", "poses.results.json", "augmented.txt", "retrieved.txt", "pairs.txt", "track.txt"),
    ),
    "docs/export.md": Reader(
        town={"images": "images", "outputs": "hloc", "sparse": "sparse",
              "segmented": "labels", "street.jpg": "images/sun/c0/place_0000.jpg"},
        has={"runs/labels": network},
        instead={"1024": "96", "768": "72", "hf://owner/name": "folder"},
        finds=("exported/model.onnx", "exported/results.json", "exported/features.h5", "exported/labels.ply",
               "exported/colmap/points3D.*", "exported/colmap/labels.txt", "folder/README.md"),
    ),
    "docs/backbones.md": Reader(
        has={"DATA": prepared},
        instead={"timm/convnext_tiny": "timm/test_convnext", "timm/vit_small_patch14_dinov2": "timm/test_vit"},
        finds=("start.safetensors", "runs/labels/model.safetensors"),
    ),
    "docs/data_sets.md": Reader(
        has={"CMU": replicas.cmu, "CITYSCAPES": replicas.cityscapes, "VISTAS": replicas.vistas, "base": network},
        instead={"resnet101": "tiny"},
        adds={"pretrain": "--weights none"},
        finds=("CMU/corr_train.txt", "VISTAS/training/labels_cityscapes/*.png", "across/model.safetensors"),
    ),
    "docs/api.md": Reader(
        has={"images": images, "run": network}, finds=("labels/labels/winter/place0.png",)
    ),
    "configs/README.md": Reader(
        has={"world": prepared, "base.safetensors": network, "experiments.yaml": experiments},
        finds=("sweep/clusters100-without/train/model.safetensors", "sweep/bright/train/model.safetensors",
               "sweep/results.json", "sweep/results.csv", "sweep/results.md"),
    ),
    "docs/speed.md": Reader(
        town={"DATASET": ".", "IMAGES": "images"}, has={"base": network}, finds=("labels/labels/sun/**/*.png",)
    ),
}  # fmt: skip
LONG = {"docs/tour.md", "docs/export.md", "docs/speed.md"}
"""Pages that take too long for `make test`."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world, prepared, with a folder as hloc leaves it, and with label maps."""
    root = tmp_path_factory.mktemp("readers") / "town"
    size = "--places 4 --size 192 144 --conditions sun --points 200 --workers 0"
    run(["fgsn", "world", "--out", str(root), *size.split()])
    run(["fgsn", "prepare", str(root)])
    load_script("benchmarks/hloc_folder.py").make_hloc_folder(
        root / "hloc", root / "sparse", root / "images", root / "queries" / "sun.txt", "xfeat", root / "work",
        keypoints=2048, retrieved=2,
    )  # fmt: skip
    network(root / "network")
    run(["fgsn", "segment", "--model", f"{root}/network", "--images", f"{root}/images", "--out", f"{root}/labels"])
    return root


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, where what is long is short and nothing is fetched."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which stops ONNX's sizes that are no numbers yet
    monkeypatch.setattr(demo, "QUICK", SMALL)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # so no processes are started
    for name, value in {"SHORT_SIDE": 96, "CROP": 65, "BATCH": 1, "FEWEST": 2}.items():
        monkeypatch.setattr(start, name, value)
    monkeypatch.setattr(segmentation, "QUICK", ("tiny", 65, (120, 80), 2))
    create = timm_net._created
    monkeypatch.setattr(timm_net, "_created", lambda *given, **more: create(*given, **more | {"pretrained": False}))
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def not_run(words: list[str]) -> set[str]:
    """What `NOT_RUN` says of a command."""
    return {start for start in NOT_RUN if shlex.join(words).startswith(start)}


FOLLOWED = [
    pytest.param(page, id=title(page), marks=[pytest.mark.slow] * (title(page) in LONG))
    for page in PAGES
    if any(language == "python" or not all(map(not_run, commands(text))) for language, text in snippets(page))
]


@pytest.mark.parametrize("page", FOLLOWED)
def test_the_page_can_be_followed(
    page: Path, desk: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = READERS.get(title(page), Reader())
    for name, part in reader.town.items():
        source, target = request.getfixturevalue("town") / part, desk / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    for name, make in reader.has.items():
        make(desk / name)
    if plain_scene.write_images in reader.has.values():
        monkeypatch.setattr(by_appearance, "make_matcher", lambda *_: plain_scene.knowing_matcher())
    names: dict[str, Any] = {}
    for language, text in snippets(page):
        if language == "python":
            for word, own in reader.instead.items():
                text = text.replace(f'"{word}"', f'"{own}"')
            exec(compile(text, title(page), "exec"), names)
            continue
        for words in commands(text):
            if not_run(words):
                continue
            words = [own for word in words for own in reader.instead.get(word, word).split()]
            command = words[1]
            words += f"{LITTLE.get(command, '')} {reader.adds.get(command, '')}".split()
            if command == "correspond":  # the next of several ways to one data set
                shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
            run(words, (0, 1) if command == "check" and reader.doubts else (0,))
            assert [out for flag, out in pairwise(words) if flag == "--out" and not (desk / out).exists()] == []
    assert [word for word in reader.instead if word not in page.read_text(encoding="utf-8")] == []
    assert [path for path in reader.finds if not any(desk.glob(path))] == []


def test_what_is_listed_is_on_a_page() -> None:
    found = [words for page in PAGES for _, text in blocks(page, "sh") for words in commands(text)]
    assert {start for words in found for start in not_run(words)} == set(NOT_RUN)
    assert set(READERS) | LONG <= {param.id for param in FOLLOWED}
