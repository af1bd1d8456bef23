"""Files appear whole or not at all, and what is read is never executed."""

import errno
import itertools
import json
import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fgsn.errors import FgsnError

LONGEST_PATH, LONGEST_NAME = 4000, 250
"""The system knows no longer ones."""
PART = ".part"
"""How unfinished files end, which a killed process leaves behind."""
DEEPEST = 100
"""Brackets within brackets of a YAML file."""
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    A reader sees the old file or the whole new one. When the body fails, nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FgsnError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    # By chance, not by process: in containers that share a disk all processes have the same number.
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}{PART}")
    try:
        yield aside
        with aside.open("r+b") as file:
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_UMASK)  # some writers make private files
        aside.replace(path)
    except OSError as error:
        raise FgsnError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


class FolderLock:
    """Tells other processes that this one writes into a folder; given up when the process ends, however it ends.

    Where the file system knows no locks, every process thinks that it is alone.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise FgsnError(f"cannot write to {folder}: {error.strerror or error}") from error
        self.folder = folder
        weakref.finalize(self, os.close, self._file)

    def alone(self) -> bool:
        """Lock the folder for this process alone, unless another is at work; then remove what killed ones left."""
        if not self._locked(shared=False):
            return False
        for left in self.folder.rglob(f".*{PART}"):
            left.unlink(missing_ok=True)
        return True

    def beside_others(self) -> None:
        """FolderLock the folder for this process and others that share it.

        Raises:
            FgsnError: another process keeps it for itself.
        """
        for _ in range(50):
            if self._locked(shared=True):
                return
            time.sleep(0.1)
        raise FgsnError(f"another fgsn is writing to {self.folder}: wait for it, or choose another --out")

    def _locked(self, shared: bool) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)
        return True


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    with atomic_write(path) as aside:
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
    return _mapping(path, json.loads, "JSON")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping with plain values only."""
    return _mapping(path, _safe_yaml, "YAML")


def inside(root: Path | str, relative: str) -> Path:
    """Join a path that was stored in a file to its root, and refuse one that leaves the root.

    Raises:
        FgsnError: the path is absolute, contains '..', is empty, or is longer than a path can be.
    """
    parts = relative.replace("\\", "/")
    if len(parts.encode(errors="replace")) > LONGEST_PATH or max(map(len, parts.split("/"))) > LONGEST_NAME:
        raise FgsnError(f"the stored path '{relative[:60]}...' below {root} is too long; refused")
    if not parts or parts.startswith("/") or ".." in parts.split("/") or "\0" in parts or ":" in parts[:2]:
        raise FgsnError(f"the stored path '{relative}' leaves its root folder {root}; refused")
    return Path(root) / parts


def _safe_yaml(text: str) -> Any:
    """Plain values of a YAML text; names of values (*name) must not multiply them, or a page would fill the memory."""
    if text.count("[") + text.count("{") > DEEPEST:  # else PyYAML ponders for minutes
        depth = itertools.accumulate({"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0) for character in text)
        if max(depth) > DEEPEST:
            raise ValueError(f"brackets are nested more than {DEEPEST} deep")
    data = yaml.safe_load(text)
    waiting, left = [data], 10 * len(text) + 1000
    while waiting and left > 0:
        value = waiting.pop()
        parts = (
            [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        )
        waiting += parts
        left -= len(parts)
    if waiting:
        raise ValueError("values that are named and repeated (&, *) multiply beyond measure")
    return data


def is_file(path: Path) -> bool:
    """Whether a path that was read from a file is one; also for names that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def _mapping(path: Path | str, parse: Callable[[str], Any], kind: str) -> dict[str, Any]:
    text = read_text(path)
    try:
        data = parse(text)
    except RecursionError:
        raise FgsnError(f"{path} is not valid {kind}: too deeply nested") from None
    except Exception as error:  # PyYAML raises almost anything over dates and numbers that are none
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
