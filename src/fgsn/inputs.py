"""Wrong paths are reported at once, before a command's module and its packages are imported."""

import re
import stat
from collections.abc import Container
from pathlib import Path
from typing import Annotated, get_origin, get_type_hints

from fgsn.config.base import FOLDERS, Settings, flag
from fgsn.errors import FgsnError
from fgsn.files import read_yaml, require_output
from fgsn.progress import say
from fgsn.texts import field_help

SIGNS = {
    "a COLMAP model": ("cameras.bin", "cameras.txt"),
    "a map folder": ("map.safetensors",),
    "a data set": ("correspondence_data",),
    "a run folder": ("model.safetensors", "checkpoints"),
    "a folder of label maps": ("made_from.json",),
}
"""What a folder is, by what it contains; it may be several things."""
PICTURES = re.compile(r"coverage\.png|(random|suspect)_\d+\.png|\..*")
"""Files of fgsn check --pictures."""
MADE = {"ReportSettings": (".html", ".htm"), "ImportSettings": (".safetensors",), "BenchSettings": (".json",)}
"""Endings of files that commands replace; others leave a record beside theirs."""
MODEL_FILES = [
    f"{name}.{kind}" for name in ("cameras", "images", "points3D", "rigs", "frames") for kind in ("bin", "txt")
]
"""The files of a COLMAP model."""
ENDINGS = {
    "a model": (".safetensors", ".pth", ".pt"),
    "an image": (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"),
    "a file of features or matches": (".h5",),
}
"""What a file is, by its ending."""
_NONE = dict.fromkeys(("queries", "priors", "intrinsics", "odometry", "start", "truth", "photos"), ())
_MODELS = dict.fromkeys(("model", "init", "baseline"), ("a run folder", "a model"))
_LABELS = dict.fromkeys(("map_labels", "query_labels", "data_labels", "labels"), ("a folder of label maps",))
SUITABLE: dict[str, tuple[str, ...]] = {
    **_NONE,
    **_MODELS,
    **_LABELS,
    "map": ("a COLMAP model", "a map folder"),
    **dict.fromkeys(("data", "corr_data", "dataset"), ("a data set",)),
    "run": ("a run folder",),
    "features": ("a file of features or matches",),
    "keypoints": ("a file of features or matches",),
}
"""What the inputs of some settings may be, of the things above."""


def require_inputs(settings: Settings, later: Container[str] = ()) -> None:
    """Report an input that does not exist, or is something else than its setting needs; not those that come `later`.

    Raises:
        FgsnError: in one line: the path, what is wrong, and what it should be.
    """
    seen: set[tuple[str, Path]] = set()
    for name, path in settings.inputs():
        if name in later:
            continue
        if (name, path.resolve()) in seen:
            raise _wrong(settings, name, f"{path} is given twice; keep one")
        seen.add((name, path.resolve()))
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise _wrong(settings, name, f"{path} does not exist") from None
        except OSError:
            continue  # its reader knows more
        if name in FOLDERS and not stat.S_ISDIR(mode):
            raise _wrong(settings, name, f"{path} is not a folder")
        found = kinds(path)
        if name in SUITABLE and found and not _suits(found, name):
            below = sorted(path.iterdir()) if path.is_dir() else []
            fitting = next((f" (did you mean {one}?)" for one in below if _suits(kinds(one), name)), "")
            raise _wrong(settings, name, f"{path} is {found[0]}{fitting}")


def kinds(path: Path) -> list[str]:
    """What a path is, as far as names tell; empty for anything that is not known."""
    if path.is_dir():
        return [kind for kind, files in SIGNS.items() if any((path / file).exists() for file in files)]
    return [kind for kind, endings in ENDINGS.items() if path.suffix.lower() in endings]


def _suits(found: list[str], name: str) -> bool:
    return not set(found).isdisjoint(SUITABLE[name])


def require_outputs(settings: Settings, file: bool) -> None:
    """Check what a command writes; if --out is a `file` made with other settings, say that it will be replaced.

    Raises:
        FgsnError: nothing can be written there, or something would be replaced that is an input or of another origin.
    """
    inputs = [path for _, path in settings.inputs()]
    inputs += [path / name for path in inputs if "a COLMAP model" in kinds(path) for name in MODEL_FILES]
    for name, path in settings.written():
        is_file = file and name == "out"
        require_output(path, inputs if is_file else None)
        if is_file or name == "pictures":
            why = _not_ours(path, settings)
        else:
            why = _inside_input(path, settings) if name == "out" else ""
        if why:
            raise FgsnError(f"cannot write to {path}: {why}; choose another {flag(name)}")
        if is_file and (other := _made_with_other(path, settings)):
            say(f"{path}, made with {other}, will be replaced")


def _not_ours(path: Path, settings: Settings) -> str:
    """Why a file, or a folder of pictures, is not of an earlier call and must not be replaced; empty if it may."""
    if path.is_dir():
        foreign = sorted(one.name for one in path.iterdir() if not PICTURES.fullmatch(one.name))
        return f"it contains {foreign[0]}, so it is not a folder of such pictures" if foreign else ""
    known = path.suffix.lower() in MADE.get(type(settings).__name__, ())
    if known or not path.is_file() or path.with_suffix(".config.yaml").exists():
        return ""
    return "there is a file that this command did not write"


def _inside_input(out: Path, settings: Settings) -> str:
    """Why a folder must not be written to, as it belongs to an input; empty if it may."""
    for name, path in settings.inputs():
        kind = next((kind for kind in kinds(path) if kind in ("a run folder", "a data set")), "")
        if kind and path.is_dir() and out.resolve() == path.resolve():
            return f"it is {kind} that is read, whose records would be replaced"
        if name in ("images", "photos") and path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            return f"it lies in {path}, where it would be taken for images"
    return ""


def _made_with_other(path: Path, settings: Settings) -> str:
    """The settings, other than those now, that the record beside an existing file states."""
    try:
        before = read_yaml(path.with_suffix(".config.yaml")) if path.exists() else {}
    except FgsnError:
        return ""
    return ", ".join(
        f"{flag(name)} {before[name]}"
        for name, value in settings.as_dict().items()
        if name in before and before[name] != value
    )


def _wrong(settings: Settings, name: str, what: str) -> FgsnError:
    kind = get_type_hints(type(settings), include_extras=True)[name]
    where = kind.__metadata__[0].metavar if get_origin(kind) is Annotated else flag(name)
    return FgsnError(f"{what}; {where}: {field_help(type(settings))[name].rstrip('.')}")
