"""fgsn start: from a folder of photographs to labels and a page about them, in one command.

Every step prints the command that does it, so that one learns them, and a second call continues where the first ended.
"""

import shlex
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch

from fgsn.config import (
    CorrespondSettings,
    ReportSettings,
    SegmentSettings,
    Settings,
    StartSettings,
    TrainSettings,
)
from fgsn.config.base import flag
from fgsn.correspond.correspond import correspond, image_names, require_two_conditions
from fgsn.correspond.views import condition_of
from fgsn.errors import FgsnError
from fgsn.evaluation.measure import HEADLINE
from fgsn.files import read_json, read_yaml, write_json, write_yaml
from fgsn.inference.model import Model, load
from fgsn.inference.segment import segment
from fgsn.matching.matcher import make_matcher
from fgsn.progress import say
from fgsn.report.page import report, same_view_note
from fgsn.training.train import train

SHORT_SIDE, CROP, BATCH = 384, 257, 4
"""Size of the images in training, and pairs of crops per step: what two cores manage in a quarter of an hour."""
CLUSTERED = 0.35
"""Share of the training time that clustering and loading take."""
FEWEST, MOST = 100, 5000
"""Steps: fewer teach nothing, more are a matter for `fgsn train`."""
VALIDATIONS = 4
"""Validations of a training, so that the page shows curves."""
FEWEST_PAIRS = 4
"""Pairs of photographs below which a quarter of an hour would be wasted."""

Given = TypeVar("Given", bound=Settings)


def start(settings: StartSettings) -> dict[str, Any]:
    """Find correspondences, train labels for a given time, label all photographs, and write a page.

    Returns:
        Pairs of the data set, steps of the training, the headline at the places kept for validation, where labels and
        page are, under `doubts` what speaks against the result, and under `failed` images that cannot be read.

    Raises:
        FgsnError: the photographs show one condition only, fewer than `FEWEST_PAIRS` pairs match, or an input is bad.
    """
    out, common = settings.out, {"seed": settings.seed, "device": settings.device}
    data, run, labels = out / "data", out / "run", out / "labels"
    start_model = load(settings.init, settings.device)  # wrong inputs are reported before minutes of matching
    names = image_names(settings.photos)
    conditions = require_two_conditions(settings.photos, names, settings.reference)
    make_matcher(settings.matcher)
    counts = ", ".join(f"{one} {sum(condition_of(name) == one for name in names)}" for one in conditions)
    say(f"fgsn: images by condition: {counts}")

    found = _step(
        "correspond",
        CorrespondSettings(
            images=settings.photos, reference=settings.reference, out=data, matcher=settings.matcher, **common
        ),
        correspond,
    )
    pairs = found["train_pairs"] + found["validation_pairs"]
    if pairs < FEWEST_PAIRS:
        raise FgsnError(
            f"only {pairs} of the pairs of photographs in {settings.photos} match, too few to learn from; add "
            "photographs of more places in every condition, or use --matcher xfeat-lighterglue and another --out"
        )
    steps = _iterations(run, start_model, settings.minutes)
    training = TrainSettings(
        data=(data,),
        init=settings.init,
        out=run,
        clusters=settings.clusters,
        iterations=steps,
        validate_every=-(-steps // VALIDATIONS),
        batch=BATCH,
        crop=CROP,
        short_side=SHORT_SIDE,
        resume=(run / "config.yaml").exists(),
        **common,
    )
    if not (run / "results.json").exists():
        _step("train", training, train)
    made = _step(
        "segment",
        SegmentSettings(model=run, images=settings.photos, out=labels, save=("labels", "overlay"), **common),
        segment,
    )
    results: dict[str, Any] = {
        "pairs": pairs,
        "steps": training.iterations,
        HEADLINE: None,
        "labels": str(labels),
        "report": None,
        "doubts": found["doubts"],
        "failed": [*found.get("failed", ()), *made.get("failed", ())],
    }
    if found["validation_pairs"]:
        page = _step("report", ReportSettings(run=run, **common), report)
        measured = read_json(run / "evaluate" / "results.json")
        doubts = [measured.get("note"), same_view_note(measured)]
        results |= {HEADLINE: measured[HEADLINE], "report": page["report"]}
        results["doubts"] = [*found["doubts"], *filter(None, doubts)]
    else:
        results["doubts"] = [*found["doubts"], "no place is left to measure the labels at, so there is no page"]
    write_yaml(out / "config.yaml", settings.as_dict())
    write_json(out / "results.json", results)
    return results


def _step(name: str, settings: Given, function: Callable[[Given], dict[str, Any]]) -> dict[str, Any]:
    say(f"$ {command_line(name, settings)}")
    return function(settings)


def command_line(name: str, settings: Settings) -> str:
    """The command that has these settings; what equals its default is left out.

    >>> command_line("segment", SegmentSettings(model=Path("run"), images=Path("my photos"), out=Path("labels")))
    "fgsn segment --model run --images 'my photos' --out labels"
    """
    kinds = get_type_hints(type(settings), include_extras=True)
    words = ["fgsn", name]
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.default is not MISSING and value == one.default:
            continue
        values = [str(item) for item in (value if isinstance(value, tuple) else (value,))]
        if getattr(kinds[one.name], "__metadata__", ()):
            words[2:2] = values  # a list of values of a flag would swallow them
        elif isinstance(value, bool):
            words.append(flag(one.name) if value else flag(f"no_{one.name}"))
        else:
            words += [flag(one.name), *values]
    return shlex.join(words)


def _iterations(run: Path, model: Model, minutes: float) -> int:
    """Steps that fit into the time, by the time of a step here; those of a run that is there already."""
    if (run / "config.yaml").exists():
        steps = read_yaml(run / "config.yaml").get("iterations")
        if not isinstance(steps, int):
            raise FgsnError(f"{run / 'config.yaml'} does not state its iterations; choose another --out")
        return steps
    seconds = seconds_per_step(model)
    steps = round(60 * minutes * (1 - CLUSTERED) / seconds)
    if not FEWEST <= steps <= MOST:
        taken = min(max(steps, FEWEST), MOST)
        needed = taken * seconds / (1 - CLUSTERED) / 60
        say(f"fgsn: --minutes {minutes:g} is enough for {steps} steps here; taking {taken}, about {needed:.0f} min")
        return taken
    return steps


def seconds_per_step(model: Model) -> float:
    """Time of the forward and backward passes of a training step on this machine, the faster of two.

    The start model is of no other use afterwards.
    """
    network = model.network.requires_grad_(True)
    network.freeze_norms()
    network.train()
    crops = torch.zeros(2 * BATCH, 3, CROP, CROP, device=model.device)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        output = network(crops.contiguous(memory_format=torch.channels_last))
        assert output.aux_logits is not None
        (output.logits.mean() + output.aux_logits.mean()).backward()
        times.append(time.perf_counter() - began)
    return min(times)
