"""Optional packages, imported on first use; the error for a missing one names the extra that installs it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fgsn.errors import MissingExtraError


def pycolmap() -> Any:
    """The package pycolmap.

    Raises:
        MissingExtraError: it is not installed.
    """
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
    """The package poselib.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import poselib
    except ImportError:
        raise MissingExtraError("poselib", "loc") from None
    return poselib


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
