"""What all settings share: the fields of every command, range checks, and conversion from and to YAML values."""

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fgsn.errors import UsageError, nearest

Device = Literal["auto", "cpu", "cuda"]
OnBadImage = Literal["skip", "stop"]

LARGEST_SIDE = 32_768
"""Pixels along a side of an image or window; more than this is a slip."""
SMALLEST_SIDE = 16
"""Pixels of two feature cells; a shorter side of an image is a slip."""
SIDES = ("short_side", "window", "crop")
OUTPUTS = ("out", "work", "pictures")
"""Paths that a command makes; all others are inputs."""
FOLDERS = (
    "photos", "dataset", "data", "corr_data", "depth", "root", "hloc",
    "map_labels", "query_labels", "data_labels", "labels", "run", "localization",
)  # fmt: skip
"""Inputs that are folders in every command."""

OLD_NAMES = {
    "SegmentSettings": {"windows": "tiling"},
    "LocalizeSettings": {"alike": "similarity", "window": "label_window"},
}
"""Settings that were renamed: for each class, old name → new name. Old names are accepted for one version."""
COMMA_LISTS = {"SegmentSettings": ("save",)}
"""Settings that were one text separated by commas and are lists now. The old form is accepted for one version."""


@dataclass(frozen=True)
class Positional:
    """Marks a field, as in `Annotated[Path, Positional("DATASET")]`, whose value is given without a flag."""

    metavar: str
    """Name of the value in the usage line."""


def require(condition: bool, message: str) -> None:
    """Raise UsageError with `message` unless `condition` is true."""
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that every command takes."""

    seed: int = 0
    """Random seed; the same seed gives the same result."""
    device: Device = "auto"
    """Device to compute on; auto uses a GPU if there is one."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # comparisons with NaN are false, so no other check would find it
            numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, float)]
            require(all(map(math.isfinite, numbers)), f"{flag(name)} must be a finite number, not {value}")
        for name in SIDES:
            side = getattr(self, name, None)
            require(side is None or side <= LARGEST_SIDE, f"{flag(name)} must be at most {LARGEST_SIDE}, not {side}")
        shorter = getattr(self, "short_side", None) or 0
        require(
            shorter <= 0 or shorter >= SMALLEST_SIDE, f"--short-side must be at least {SMALLEST_SIDE}, not {shorter}"
        )
        require(0 <= self.seed < 2**31, f"--seed must be between 0 and 2**31 - 1, not {self.seed}")

    def inputs(self) -> Iterator[tuple[str, Path]]:
        """Name and value of every path that must exist; names such as world:labels and hf://owner/name are no paths."""
        for name, value in vars(self).items():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Path) and name not in OUTPUTS and (":" not in str(one) or name in FOLDERS):
                    yield name, one

    def written(self) -> Iterator[tuple[str, Path]]:
        """Name and value of every path to write to, also of one that has its default."""
        for name in OUTPUTS:
            if path := work_folder(self) if name == "work" and hasattr(self, name) else getattr(self, name, None):
                yield name, path

    def as_dict(self) -> dict[str, Any]:
        """The settings as YAML values."""
        return {key: _yaml_value(value) for key, value in asdict(self).items()}


def work_folder(settings: Any) -> Path:
    """The folder for features and matches: --work, else work/ beside --out."""
    return settings.work or settings.out.parent / "work"


def at_least(settings: Settings, **limits: int) -> None:
    """Raise UsageError unless each named field is None or at least its limit."""
    for name, limit in limits.items():
        value = getattr(settings, name)
        require(value is None or value >= limit, f"{flag(name)} must be at least {limit}, not {value}")


def above_zero(settings: Settings, *names: str) -> None:
    """Raise UsageError unless each named field is None or above 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            require(value > 0, f"{flag(name)} must be above 0, not {value:g}")


def check_window(side: int) -> None:
    """A window of 8 n + 1 pixels has feature cells exactly on its first and last pixel (713 = 8 · 89 + 1)."""
    require(
        side == 0 or (side % 8 == 1 and side >= 9),
        f"the side of a crop or window must be 8 n + 1 pixels: use {max(9, side // 8 * 8 + 1)} instead of {side}",
    )


def flag(name: str) -> str:
    """The flag of a field.

    >>> flag("short_side")
    '--short-side'
    """
    return f"--{name.replace('_', '-')}"


def from_yaml_values(
    settings: type[Settings], values: Mapping[str, Any], source: str, notify: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Convert the values of a YAML file to the types of the fields of `settings`.

    Args:
        settings: class whose fields the keys name; old names and forms are converted.
        values: what the file contains.
        source: name of the file, for messages.
        notify: called with one line for every old name or form.

    Raises:
        UsageError: an unknown key (the message suggests the nearest one), or a value of the wrong type.
    """
    types, old_names = get_type_hints(settings), OLD_NAMES.get(settings.__name__, {})
    typed = {}
    for key, value in values.items():
        given = str(key).replace("-", "_")
        name = old_names.get(given, given)
        if name not in types:
            raise UsageError(f"{source}: unknown key '{key}'; {nearest(name, types)}")
        if name != given and notify:
            notify(f"{source}: '{key}' is now '{name}'; the old name will go in the next version")
        if name in COMMA_LISTS.get(settings.__name__, ()) and isinstance(value, str) and "," in value:
            if notify:
                notify(f"{source}: '{key}' is now a list; the form with commas will go in the next version")
            value = value.split(",")
        try:
            typed[name] = _typed(value, types[name])
        except TypeError as expected:
            raise UsageError(f"{source}: '{key}' should be {expected}, not {reprlib.repr(value)}") from None
    return typed


def _typed(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`, or raise TypeError with the name of the expected kind."""
    if get_origin(kind) is tuple:
        items = value if isinstance(value, list) else [value]
        kinds = get_args(kind)
        kinds = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(items):
            raise TypeError(f"a list of {len(kinds)}")
        return tuple(_typed(item, kind) for item, kind in zip(items, kinds, strict=True))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise TypeError("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if NoneType in get_args(kind):
        return None if value is None else _typed(value, get_args(kind)[0])
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as text
        except ValueError:
            raise TypeError("a number") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {Path: "a path", int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise TypeError(names[kind])
    return value


def _yaml_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_yaml_value(item) for item in value]
    return value
