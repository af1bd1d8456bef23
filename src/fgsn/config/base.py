"""What all settings share: the fields of every command, checks of ranges, and YAML values in and out."""

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fgsn.errors import UsageError, nearest

Device = Literal["auto", "cpu", "cuda"]
OnBadImage = Literal["skip", "stop"]


def require(condition: bool, message: str) -> None:
    """Raise UsageError with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every command takes."""

    seed: int = 0
    """Seed of everything random; the same seed gives the same result."""
    device: Device = "auto"
    """Where to compute: auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, f"--seed must lie between 0 and 2**31 - 1, not {self.seed}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, ready for YAML."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def at_least(settings: Settings, **limits: int) -> None:
    """Raise UsageError unless each named field is None or at least its limit."""
    for name, limit in limits.items():
        value = getattr(settings, name)
        flag = f"--{name.replace('_', '-')}"
        require(value is None or value >= limit, f"{flag} must be at least {limit}, not {value}")


def check_window(side: int) -> None:
    """A window of 8 n + 1 pixels has feature cells exactly on its first and last pixel (713 = 8 · 89 + 1)."""
    require(
        side == 0 or (side % 8 == 1 and side >= 9),
        f"the side of a crop or window must be 8 n + 1 pixels: take {max(9, side // 8 * 8 + 1)} instead of {side}",
    )


def from_plain(settings: type[Settings], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Turn plain values (as YAML holds them) into the types of the fields of `settings`.

    Raises:
        UsageError: an unknown key (names the nearest one) or a value of another type; `source` says where.
    """
    types = get_type_hints(settings)
    typed = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in types:
            raise UsageError(f"{source}: unknown key '{key}'; {nearest(name, types)}")
        try:
            typed[name] = _typed(value, types[name])
        except TypeError as wanted:
            raise UsageError(f"{source}: '{key}' should be {wanted}, not {reprlib.repr(value)}") from None
    return typed


def _typed(value: Any, kind: Any) -> Any:
    """`value` as `kind`; raises TypeError with the name of the kind that was wanted."""
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
            return float(value)  # YAML 1.1 takes 1e-4 for a text
        except ValueError:
            raise TypeError("a number") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(
            {Path: "a path", int: "a whole number", float: "a number", str: "a text"}.get(kind, kind.__name__)
        )
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
