"""Optional packages, imported on first use; the error for a missing one names the extra that installs it."""

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from fgsn.errors import FgsnError, MissingExtraError, reason


def package(name: str, extra: str, advice: str = "reinstall it") -> Any:
    """The package of this name from an extra; MissingExtraError if it is not installed.

    Raises FgsnError if it cannot be imported; `advice` says what to do.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:  # the latter from a torchvision built for another torch
        known = name.replace("_", "-")
        if getattr(error, "name", None) == name:
            raise MissingExtraError(known, extra) from None
        raise FgsnError(f"cannot import the package '{known}' ({reason(error)}); {advice}") from None


def pycolmap() -> Any:
    """The package pycolmap; MissingExtraError if it is not installed."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        import pycolmap
    except ImportError:
        raise MissingExtraError("pycolmap", "loc") from None
    # Importing it replaces the handler of SIGTERM by one that prints a stack trace and aborts.
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return pycolmap


def poselib() -> Any:
    """The package poselib; MissingExtraError if it is not installed."""
    try:
        import poselib
    except ImportError:
        raise MissingExtraError("poselib", "loc") from None
    return poselib


def poselib_options(kind: Literal["RansacOptions", "BundleOptions"], **options: Any) -> dict[str, Any]:
    """Options of an estimator of PoseLib, which ignores names that it does not know; here they are a FgsnError.

    Raises MissingExtraError if it is not installed.
    """
    package = poselib()
    unknown = sorted(options.keys() - getattr(package, kind)().keys())
    if unknown:
        raise FgsnError(f"PoseLib {package.__version__} has no option '{unknown[0]}': pip install 'fgsn[loc]' again")
    return options


@contextmanager
def pycolmap_quiet() -> Iterator[None]:
    """Make pycolmap log only fatal errors; otherwise it logs every step on stderr."""
    log = pycolmap().logging
    before = log.minloglevel
    log.minloglevel = log.FATAL.value
    try:
        yield
    finally:
        log.minloglevel = before
