"""Find what is wrong with a data set, labelled images, a model or a run before hours are spent on it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fgsn.checks.dataset import check_dataset
from fgsn.checks.labelled_images import check_labelled
from fgsn.checks.problems import failure, limited
from fgsn.config import CheckSettings
from fgsn.data.dataset import Dataset
from fgsn.data.labelled import FORMATS
from fgsn.errors import FgsnError, nearest
from fgsn.files import read_json, read_text, read_yaml
from fgsn.inference.packaged import FILES as PACKAGED
from fgsn.inputs import kinds

RUN_FILES = ("model.safetensors", "metrics.jsonl", "config.yaml", "results.json")


def check(settings: CheckSettings) -> dict[str, Any]:
    """Check a data set folder, a model file, a run folder or labelled images (FORMAT:PATH).

    Returns:
        Counts of what was checked, and under `problems` one line per problem; of a data set, also `warnings`, which do
        not make the command fail.

    Raises:
        FgsnError: the path does not exist, or is none of these.
    """
    path = settings.path
    if str(path) in PACKAGED:
        return {"kind": "model", "problems": list(_model_problems(path))}
    if not path.exists() and str(path).partition(":")[0] in FORMATS:
        results = check_labelled(str(path), settings.decode)
        return results | {"problems": limited(results["problems"])}
    if path.is_file():
        return {"kind": "model", "problems": list(_model_problems(path))}
    if not path.is_dir():
        name, colon, _ = str(path).partition(":")
        raise FgsnError(f"unknown format '{name}'; {nearest(name, FORMATS)}" if colon else f"{path} does not exist")
    if kinds(path)[:1] == ["a folder of label maps"]:
        raise FgsnError(f"{path} is a folder of label maps; check the data set or the model that they were made from")
    if (path / "images").is_dir() or (path / "correspondence_data").is_dir():
        return check_dataset(Dataset.open(path), settings)
    if any((path / name).exists() for name in (*RUN_FILES, "checkpoints")):
        return {"kind": "run", "problems": list(_run_problems(path))}
    if kinds(path.parent)[:1] == ["a data set"]:
        raise FgsnError(f"{path} is a part of a data set; did you mean {path.parent}?")
    raise FgsnError(
        f"{path} is neither a data set (images/, correspondence_data/) nor a run ({', '.join(RUN_FILES)}); "
        f"fgsn correspond makes a data set from photographs; give labelled images as FORMAT:PATH "
        f"({', '.join(sorted(FORMATS))})"
    )


def _model_problems(path: Path) -> Iterator[str]:
    from fgsn.inference.model import load  # imports torch, which other checks do not need

    if problem := failure(lambda: load(path)):
        yield problem


def _run_problems(run: Path) -> Iterator[str]:
    missing = [name for name in RUN_FILES if not (run / name).is_file()]
    if missing:
        advice = "; the run is not finished, --resume continues it" if (run / "checkpoints").is_dir() else ""
        yield f"{run} lacks {', '.join(missing)}{advice}"
    readers = {"metrics.jsonl": _read_metrics, "config.yaml": read_yaml, "results.json": read_json}
    for name, read in readers.items():
        if name not in missing and (problem := failure(lambda name=name, read=read: read(run / name))):
            yield problem
    if "model.safetensors" not in missing:
        yield from _model_problems(run / "model.safetensors")


def _read_metrics(path: Path) -> None:
    """Raise FgsnError where a line is not a JSON object or a metric is not finite."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            metrics = json.loads(line)
        except (ValueError, RecursionError):
            raise FgsnError(f"{path}, line {number} is not JSON") from None
        if not isinstance(metrics, dict):
            raise FgsnError(f"{path}, line {number} is not a JSON object")
        for key, value in metrics.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FgsnError(f"{path}, line {number}: {key} is {value}; the training has diverged")
