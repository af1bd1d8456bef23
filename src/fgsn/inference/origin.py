"""Which label maps may be used again: those of the same model and settings, made from the image as it is now.

A folder of label maps records their origin in made_from.json; every label map records its image.
"""

from pathlib import Path
from typing import Any

from fgsn.config.base import flag
from fgsn.data.images import image_size, open_image
from fgsn.errors import FgsnError
from fgsn.files import file_mark, read_json, write_json
from fgsn.formats.numpy_file import is_whole
from fgsn.inference.label_maps import IMAGE_KEY
from fgsn.inference.model import fingerprint
from fgsn.inference.segmenter import Segmenter

MADE_FROM = "made_from.json"
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}
"""Last bytes of complete files."""


def origin_of(segmenter: Segmenter, model_path: Path) -> dict[str, Any]:
    """What label maps of this model, from this file, with its settings and precision depend on."""
    model, precision = segmenter.model, segmenter.precision
    return {
        "model": fingerprint(model_path),
        "short_side": model.short_side,
        "window": model.window,
        "windows": model.tiling,
        # Not recorded for float32, as in folders of earlier versions.
        **({"precision": precision} if precision != "float32" else {}),
    }


def other_origin(out: Path, now: dict[str, Any]) -> str:
    """How the label maps in a folder were made, as far as that differs from `now`; '' if there are none of others.

    Raises FgsnError if the record is damaged.
    """
    if not (out / MADE_FROM).exists():
        return "label maps of unknown origin" if any((out / "labels").glob("**/*.png")) else ""
    before = recorded_origin(out)
    default = {"precision": "float32"}
    pairs = {key: ((default | before).get(key), (default | now).get(key)) for key in default | before | now}
    differing = {key: values for key, values in pairs.items() if values[0] != values[1] and key != "command"}
    if not differing:
        return ""
    if "unfinished" in differing:
        return "label maps of another model or other settings, partly overwritten"
    if "model" in differing:
        return "label maps of another model"
    flags = {key: flag("tiling" if key == "windows" else key) for key in differing}
    given = [f"{flags[key]} {old}, not {new}" for key, (old, new) in differing.items()]
    return f"label maps of this model with {' and '.join(given)}"


def recorded_origin(out: Path) -> dict[str, Any]:
    """The record of a folder, {} without one."""
    return read_json(out / MADE_FROM) if (out / MADE_FROM).exists() else {}


def record_origin(out: Path, made_from: dict[str, Any], **more: Any) -> None:
    """Record the origin of the label maps in a folder."""
    write_json(out / MADE_FROM, made_from | more)


def is_fresh(output: Path, image: Path) -> bool:
    """Whether an output of `fgsn segment` is complete, made from this image, and not older than it."""
    try:
        return output.stat().st_mtime_ns >= image.stat().st_mtime_ns and belongs_to(output, image)
    except OSError:
        return False


def belongs_to(output: Path, image: Path) -> bool:
    """Whether an output of `fgsn segment` is complete and, if it is a label map, made from an image of this size."""
    try:
        if output.suffix == ".npy":
            return is_whole(output)
        with open_image(output) as stored:
            size, made_from = stored.size, stored.info.get(IMAGE_KEY)
        with output.open("rb") as file:
            file.seek(-16, 2)
            complete = file.read().endswith(_ENDS[output.suffix])
        if output.suffix != ".png":  # an overlay has its legend below the image
            return complete
        return complete and size == image_size(image) and made_from in (None, file_mark(image))
    except (OSError, EOFError, ValueError, FgsnError):
        return False
