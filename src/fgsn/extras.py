"""Optional packages, imported when they are needed; a missing one is named with the extra that brings it."""

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
    # Its import takes SIGTERM for itself, to print a stack trace and abort.
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
    """Within, pycolmap logs nothing short of what ends the process; it tells every step on stderr otherwise."""
    log = pycolmap().logging
    before = log.minloglevel
    log.minloglevel = log.FATAL.value
    try:
        yield
    finally:
        log.minloglevel = before
