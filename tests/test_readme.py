"""The README's commands run, on tiny data and with few steps, in the order in which they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fgsn.cli import COMMANDS, main

README = Path(__file__).parent.parent / "README.md"
TINY = {
    "world": "--places 4 --size 96 72 --points 200 --workers 1 --conditions snow night",
    "correspond": "--workers 1 --split random",
    "check": "--decode 2",
    "train": "--clusters 5 --iterations 2 --batch 1 --crop 65 --features-per-image 100",
    "pretrain": "--backbone tiny --weights none --iterations 2 --batch 2 --crop 65 --short-side 72",
    "evaluate": "--resamples 0",
}


def commands() -> dict[str, list[str]]:
    """The words of every fgsn command in the README's shell blocks, by name; each is shown once."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines() if line.startswith("fgsn ")]
    return {words[1]: words[1:] for words in map(shlex.split, lines)}


def camvid(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        names = []
        for index in range(2):
            image, label = f"images/{split}/{index}.png", f"labels/{split}/{index}.png"
            for name, array in (
                (image, rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)),
                (label, rng.integers(0, 12, (72, 96), dtype=np.uint8)),
            ):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / name)
            names.append(f"{image} {label}")
        (root / f"{split}.txt").write_text("\n".join(names))


def photographs(root: Path) -> None:
    """Two places in summer and, from a step aside and in other light, in winter."""
    for place in range(2):
        rng = np.random.default_rng(place)
        scene = sum(
            amount * ndimage.zoom(rng.uniform(-1, 1, (220 // side + 2, 290 // side + 2, 3)), (side, side, 1), order=1)
            [:220, :290] for side, amount in ((40, 60), (12, 50), (5, 40))
        )  # fmt: skip
        for condition, (aside, gain) in {"summer": (20, 1.0), "winter": (26, 0.7)}.items():
            view = np.clip(128 + gain * scene[20:200, aside : aside + 240], 0, 255).astype(np.uint8)
            (root / condition).mkdir(parents=True, exist_ok=True)
            Image.fromarray(view).save(root / condition / f"place{place}.jpg", quality=92)


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camvid(tmp_path / "CAMVID")
    photographs(tmp_path / "PHOTOS")
    found = commands()
    for name in ("world", "prepare", "correspond", "check", "pretrain", "train", "segment", "evaluate", "stationary",
                 "info"):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([*found[name], *TINY.get(name, "").split()])
        assert stop.value.code == 0, name
    assert (tmp_path / "labels" / "overlay" / "winter" / "place0.jpg").is_file()
    assert (tmp_path / "pictures" / "suspect_00.png").is_file()
    assert (tmp_path / "WORLD" / "corr_train.txt").is_file()
    assert (tmp_path / "final" / "model.safetensors").is_file()
    assert (tmp_path / "figures" / "results.json").is_file()


def test_the_readme_names_every_command() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`fgsn {name}`" not in text] == []


def test_the_readme_shows_its_make_targets() -> None:
    text = README.read_text(encoding="utf-8")
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)\b(?=[ `\n])", text)):
        if target in ("demo", "test", "demo-quick"):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make demo" in text
    assert "make test" in text


def test_pictures_that_the_readme_shows_exist() -> None:
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / name).is_file(), name
