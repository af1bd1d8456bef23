"""Files appear whole or not at all, and what is read is never executed."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fgsn.errors import FgsnError

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    A reader sees the old file or the whole new one. When the body fails, nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FgsnError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_UMASK)  # some writers make private files
        aside.replace(path)
    except OSError as error:
        raise FgsnError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: Mapping[str, Any]) -> None:
    """Write JSON for people and programs: two spaces, keys in the order given."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, default=_plain) + "\n")


def write_yaml(path: Path | str, data: Mapping[str, Any]) -> None:
    """Write YAML, keys in the order given."""
    write_text(path, yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True))


def read_text(path: Path | str) -> str:
    """Read a UTF-8 text file.

    Raises:
        FgsnError: the file is missing or is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FgsnError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise FgsnError(f"{path} is not a text file") from None
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror}") from None


def read_lines(path: Path | str) -> list[str]:
    """Read the lines of a list file; blank lines and lines starting with # are left out."""
    lines = (line.strip() for line in read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object."""
    return _mapping(path, json.loads, json.JSONDecodeError, "JSON")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping with plain values only."""
    return _mapping(path, yaml.safe_load, yaml.YAMLError, "YAML")


def inside(root: Path | str, relative: str) -> Path:
    """Join a path that was stored in a file to its root, and refuse one that leaves the root.

    Raises:
        FgsnError: the path is absolute, contains '..', or is empty.
    """
    parts = relative.replace("\\", "/")
    if not parts or parts.startswith("/") or ".." in parts.split("/") or "\0" in parts or ":" in parts[:2]:
        raise FgsnError(f"the stored path '{relative}' leaves its root folder {root}; refused")
    return Path(root) / parts


def _mapping(path: Path | str, parse: Callable[[str], Any], failure: type[Exception], kind: str) -> dict[str, Any]:
    try:
        data = parse(read_text(path))
    except failure as error:
        where = " ".join(str(error).split())
        raise FgsnError(f"{path} is not valid {kind}: {where}") from None
    if not isinstance(data, dict):
        raise FgsnError(f"{path} should hold a {kind} mapping (key: value), but holds {type(data).__name__}")
    return data


def _plain(value: Any) -> Any:
    """Turn NumPy and path values into what JSON knows."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
