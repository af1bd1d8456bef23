"""fgsn bench: measures the requested subjects; each is one function of this package."""

import importlib
import os
import platform
from collections.abc import Callable
from typing import Any

import numpy
import scipy
import torch

from fgsn.bench.measure import copy_rate, matmul_rate
from fgsn.config import BenchSettings
from fgsn.errors import UsageError, nearest
from fgsn.files import write_json
from fgsn.inference.model import prepare_device
from fgsn.progress import say

SUBJECTS = {
    "segmentation": "fgsn.bench.segmentation:segmentation",
    "training": "fgsn.bench.training:training",
    "clustering": "fgsn.bench.clustering:clustering",
    "assignment": "fgsn.bench.clustering:assignment",
    "gsmc": "fgsn.bench.gsmc:gsmc",
    "pfsl": "fgsn.bench.pfsl:pfsl",
}
"""The function of each subject, from settings to a row of `fgsn.bench.measure.metrics`."""


def bench(settings: BenchSettings) -> dict[str, Any]:
    """Measure the requested subjects, all of them by default.

    Returns:
        `machine`, and `bench`: a row of metrics per subject; also written to `settings.out`.

    Raises:
        UsageError: a subject does not exist.
    """
    for name in settings.subjects:
        if name not in SUBJECTS:
            raise UsageError(f"unknown subject '{name}' in --subjects; {nearest(name, SUBJECTS)}")
    results: dict[str, Any] = {"machine": machine(settings)}
    rows: dict[str, Any] = {}
    for name in settings.subjects or SUBJECTS:
        say(f"bench: {name}")
        module, _, function = SUBJECTS[name].partition(":")
        measure: Callable[[BenchSettings], dict[str, Any]] = getattr(importlib.import_module(module), function)
        rows[name] = measure(settings)
        results["bench"] = rows
        if settings.out is not None:
            write_json(settings.out, results)  # after each subject, so that an interrupted run keeps its results
    return results


def machine(settings: BenchSettings) -> dict[str, Any]:
    """The device, library versions, and the measured rates that the rooflines are based on."""
    device = prepare_device(settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    rates = {dtype: matmul_rate(device, getattr(torch, dtype)) / 1e9 for dtype in ("float32", "bfloat16")}
    return {
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "matmul_float32_gflops": rates["float32"],
        "matmul_bfloat16_gflops": rates["bfloat16"],
        "copy_gbytes": copy_rate(device) / 1e9,
    }
