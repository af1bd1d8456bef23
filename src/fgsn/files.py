"""Reading and writing files: writes are atomic, and nothing that is read is ever executed."""

import codecs
import errno
import json
import os
import re
import secrets
import time
import weakref
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from fgsn.errors import CannotWriteError, FgsnError
from fgsn.strict import parse_json, parse_yaml

LONGEST_PATH, LONGEST_NAME = 4000, 250
"""Limits of the operating system."""
PART = ".part"
"""Suffix of temporary files, which a killed process leaves behind."""
LEFTOVER = re.compile(r"(\..*)\.[0-9a-f]{12}\.part")
"""Name of a temporary file; other programs use the same suffix."""
LONGEST_START = 100
"""Bytes of a file's name in the name of its temporary file."""
LOCK = ".lock"
"""Name of the file that a process locks in its folder."""
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success, flush it to disk and rename it to `path`.

    A reader sees either the old file or the complete new one. If the body fails, nothing is left behind; what a killed
    process left behind is removed when the same file is written again.
    """
    path = as_path(path)
    if not path.name:
        raise CannotWriteError(f"cannot write {path}: the name of a file is missing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    try:
        with _temporary(path) as aside:
            yield aside
            with aside.open("r+b") as file:
                os.fsync(file.fileno())
            aside.chmod(0o666 & ~_UMASK)  # some writers create private files
            aside.replace(path)
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, locked while it is written, so that others know that its process lives."""
    start = path.name.encode(errors="replace")[:LONGEST_START].decode(errors="ignore")
    for name in _leftovers(path.parent, int(time.monotonic())).get(f".{start}", ()):
        _remove_if_left(path.with_name(name))
    # A random name, not the process number, which is the same in all containers that share a disk.
    aside = path.with_name(f".{start}.{secrets.token_hex(6)}{PART}")
    held = None
    try:
        held = _locked(aside, os.O_CREAT)
        yield aside
    finally:
        aside.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


@lru_cache(64)
def _leftovers(folder: Path, second: int) -> dict[str, list[str]]:
    """Names of temporary files in a folder by their start; listed once per second, as folders may be large."""
    found: dict[str, list[str]] = defaultdict(list)
    with suppress(OSError):  # a folder may be writable but not readable
        for match in filter(None, (LEFTOVER.fullmatch(file.name) for file in folder.iterdir())):
            found[match[1]].append(match[0])
    return found


def _remove_if_left(part: Path) -> None:
    """Remove a temporary file, unless a process still writes it."""
    with suppress(OSError):
        if (held := _locked(part)) is not None:
            part.unlink()
            os.close(held)


def _locked(path: Path, flags: int = 0) -> int | None:
    """A descriptor that keeps a file locked until it is closed; None if another has it, or there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDWR | flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class FolderLock:
    """A lock that a process holds while it writes to a folder; released when the process ends, however it ends.

    On a file system without locks, every process gets the lock.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise FgsnError(f"cannot write to {folder}: {error.strerror or error}") from error
        self.folder = folder
        weakref.finalize(self, os.close, self._file)

    def lock_exclusively(self) -> bool:
        """Lock the folder and remove the temporary files of killed processes; False if another process has a lock.

        Temporary files that a living process writes without a lock of the folder, such as fgsn localize, stay.
        """
        if not self._lock(shared=False):
            return False
        for folder, folders, files in os.walk(self.folder):
            # A folder with a lock of its own belongs to a command that may be running.
            folders[:] = [name for name in folders if not Path(folder, name, LOCK).exists()]
            for name in filter(LEFTOVER.fullmatch, files):
                _remove_if_left(Path(folder, name))
        return True

    def require(self) -> "FolderLock":
        """Lock the folder exclusively.

        Raises:
            FgsnError: another process has a lock.
        """
        if not self.lock_exclusively():
            raise FgsnError(f"another fgsn is writing to {self.folder}: wait for it, or choose another folder")
        return self

    def lock_shared(self) -> None:
        """Lock the folder together with other processes that share it; waits up to 5 s for an exclusive lock to end.

        Raises:
            FgsnError: another process has an exclusive lock.
        """
        for _ in range(50):
            if self._lock(shared=True):
                return
            time.sleep(0.1)
        raise FgsnError(f"another fgsn is writing to {self.folder}: wait for it, or choose another --out")

    def _lock(self, shared: bool) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)
        return True


def as_path(path: Path | str) -> Path:
    """A path from a caller, whether or not there is a file.

    Raises:
        FgsnError: it cannot be the path of a file: empty, too long, or with characters that the system does not allow.
    """
    why = "" if path != "" else "it is empty"
    try:
        Path(path).stat()
    except TypeError as error:
        why = str(error)
    except ValueError:
        why = "it has characters that the system does not allow"
    except OSError as error:
        why = "it is too long" if error.errno == errno.ENAMETOOLONG else why
    if why:
        raise FgsnError(f"'{path}' is not the path of a file: {why}")
    return Path(path)


def require_output(path: Path, inputs: Iterable[Path] | None = None) -> None:
    """Check, before the work, a folder to write to; or a file, if `inputs` are given, which it must not replace.

    Raises:
        CannotWriteError: it is a file in place of a folder or the other way round, an input, or must not be written.
    """
    try:
        why = _why_not(path, inputs)
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise CannotWriteError(f"cannot write to {path}: {why}")


def _why_not(path: Path, inputs: Iterable[Path] | None) -> str:
    """Why `require_output` refuses a path; empty if it does not."""
    folders = list(path.absolute().parents)
    if inputs is None:
        folders.insert(0, path.absolute())
    elif path.is_dir():
        return "it is a folder; name a file in it"
    elif path.exists() and not path.is_file():
        return "it is not a file"
    elif path.exists() and any(one.exists() and one.samefile(path) for one in inputs):
        return "it would replace a file that is read; name another one"
    for folder in folders:
        if folder.exists():
            able = os.access(folder, os.W_OK | os.X_OK)
            return (
                f"{folder} is a file, not a folder" if not folder.is_dir() else "" if able else f"{folder} is protected"
            )
        if folder.is_symlink():
            return f"{folder} is a link to nothing"
    return ""


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        FgsnError: it cannot be written, or the text has the name of a file that is not UTF-8.
    """
    try:
        with atomic_write(path) as aside:
            aside.write_text(text, encoding="utf-8")
    except UnicodeEncodeError as error:
        odd = text[max(0, error.start - 20) : error.end + 20]
        raise FgsnError(f"cannot write {path}: '{odd}' is not a name in UTF-8; rename the file") from None


def write_json(path: Path | str, data: Mapping[str, Any]) -> None:
    """Write JSON, indented by two spaces, with keys in the given order."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, default=_json_value) + "\n")


def write_yaml(path: Path | str, data: Mapping[str, Any]) -> None:
    """Write YAML with keys in the given order."""
    write_text(path, yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True))


def read_text(path: Path | str) -> str:
    """Read a UTF-8 text file, without the byte order mark that editors of Windows write.

    Raises:
        FgsnError: the file is missing, unreadable or not UTF-8 text.
    """
    try:
        return as_path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FgsnError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise FgsnError(f"{path} is UTF-16 text; save it as UTF-8") from None
        raise FgsnError(f"{path} is not a text file in UTF-8") from None
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror}") from None


def numbered_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """The lines that are neither blank nor a comment (#), with their numbers from 1.

    Raises:
        FgsnError: the file is missing or is not text.
    """
    # Not splitlines: it splits names at separators such as U+2028, which no editor shows as a new line.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def read_lines(path: Path | str) -> list[str]:
    """Read the lines of a list file, without blank lines and lines that start with #."""
    return [line for _, line in numbered_lines(path)]


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object."""
    return _mapping(path, parse_json, "JSON")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping of plain values (no tags)."""
    return _mapping(path, parse_yaml, "YAML")


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key that compares numbers by value.

    >>> sorted(["frame10", "frame9"], key=natural_order)
    ['frame9', 'frame10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def inside(root: Path | str, relative: str) -> Path:
    """Join a path that was stored in a file to its root folder.

    Raises:
        FgsnError: the path is absolute, contains '..', is empty or is too long.
    """
    parts = relative.replace("\\", "/")
    if len(parts.encode(errors="replace")) > LONGEST_PATH or max(map(len, parts.split("/"))) > LONGEST_NAME:
        raise FgsnError(f"refused the stored path '{relative[:60]}...' below {root}: it is too long")
    if not parts or parts.startswith("/") or ".." in parts.split("/") or "\0" in parts or ":" in parts[:2]:
        raise FgsnError(f"refused the stored path '{relative}': it leaves its root folder {root}")
    return Path(root) / parts


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False for names that the system does not allow."""
    try:
        return path.is_file()
    except OSError:
        return False


def file_mark(path: Path) -> str:
    """A short mark that tells the files of different images apart: the size, and a checksum of the end.

    Raises FgsnError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4096))
            return f"{size}-{zlib.crc32(file.read()):08x}"
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror}") from None


def file_stamp(path: Path) -> str:
    """Mark and time of a file, which differ once it has changed.

    Raises FgsnError if the file cannot be read.
    """
    return f"{file_mark(path)}-{path.stat().st_mtime_ns}"


def _mapping(path: Path | str, parse: Callable[[str], Any], kind: str) -> dict[str, Any]:
    text = read_text(path)
    try:
        data = parse(text)
    except RecursionError:
        raise FgsnError(f"{path} is not valid {kind}: too deeply nested") from None
    except Exception as error:  # PyYAML raises almost anything for invalid dates and numbers
        where = " ".join(str(error).split())
        raise FgsnError(f"{path} is not valid {kind}: {where}") from None
    if data is None:
        raise FgsnError(f"{path} is empty")
    if not isinstance(data, dict):
        raise FgsnError(f"{path} should contain a {kind} mapping (key: value), but contains {type(data).__name__}")
    return data


def _json_value(value: Any) -> Any:
    """Convert NumPy and path values for JSON."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
