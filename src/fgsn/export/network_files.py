"""Export the network from image to label map: ONNX, or a torch.export program."""

import io
import json
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgsn.config import ExportSettings
from fgsn.data.images import list_images, read_image
from fgsn.errors import FgsnError, MissingExtraError, reason
from fgsn.export.portable import Portable
from fgsn.files import atomic_write
from fgsn.inference.model import Model
from fgsn.models.layers import STRIDE
from fgsn.progress import say, tracked

LARGEST = 65535
OUTPUTS = {
    "labels": "int32 (height, width): the label of every pixel",
    "scores": "float32 (labels, h, w): a cell every 8 pixels of the image as the network sees it",
    "features": "float32 (dimensions, h, w): a cell every 8 pixels of the image as the network sees it",
}


def write_networks(model: Model, settings: ExportSettings) -> dict[str, Any]:
    """Write model.onnx and model.pt2, as requested; on `images`, the ONNX model is compared with PyTorch.

    Raises:
        MissingExtraError: the packages for ONNX are not installed.
        FgsnError: torch cannot export the network, or no image has the right size.
    """
    if "onnx" in settings.format:
        _packages()
    if model.tiling == "published":
        say("the exported network aligns windows with feature cells, like fgsn segment --tiling aligned")
        model = replace(model, tiling="aligned")
    size = None if settings.size is None else (settings.size[1], settings.size[0])
    images = [] if settings.images is None else list_images(settings.images)
    program, example = _program(model, settings.outputs, size)
    results: dict[str, Any] = {}
    if "torch" in settings.format:
        path = settings.out / "model.pt2"
        content = io.BytesIO()  # torch's own writer ends the process on a full disk
        with warnings.catch_warnings(action="ignore"):
            torch.export.save(program, content)
        with atomic_write(path) as aside:
            aside.write_bytes(content.getbuffer())
        results["torch"] = {"file": str(path)}
    if "onnx" in settings.format:
        path = settings.out / "model.onnx"
        _write_onnx(path, program, example, model, settings)
        results["onnx"] = {"file": str(path), **_compared(path, model, settings.outputs, size, [p for p, _ in images])}
    return results


def _program(
    model: Model, outputs: Sequence[str], size: tuple[int, int] | None
) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    """The exported network, and the example image it was traced with."""
    network = Portable(model, outputs, size).eval()
    side = model.window + STRIDE
    shapes = None
    if size is None:
        sides = {axis: torch.export.Dim(name, min=side, max=LARGEST) for axis, name in enumerate(("height", "width"))}
        shapes = (sides,)
    # More than two windows per side, so that their number does not become a constant.
    height, width = (2 * model.window + 3, 3 * model.window + 5) if size is None else size
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    say("export: tracing the network takes about a minute")
    try:
        with _silent(), torch.no_grad():
            words = {} if size else {"dynamic_shapes": shapes, "prefer_deferred_runtime_asserts_over_guards": True}
            program = torch.export.export(network, (image,), **words)
    except Exception as error:  # torch's compiler raises many types
        hint = "" if size else "; specify the --size of the images"
        raise FgsnError(f"torch cannot export this network: {reason(error, 200)}{hint}") from None
    return program, image


def _write_onnx(
    path: Path, program: torch.export.ExportedProgram, image: torch.Tensor, model: Model, settings: ExportSettings
) -> None:
    try:
        with _silent():
            written = torch.onnx.export(
                program,
                (image,),
                dynamo=True,
                input_names=["image"],
                output_names=list(settings.outputs),
                verbose=False,
            )
    except Exception as error:  # as above
        raise FgsnError(f"the network cannot be written as ONNX: {reason(error, 200)}") from None
    assert written is not None
    written.model.metadata_props.update(_metadata(model, settings))
    with atomic_write(path) as aside:
        written.save(aside)


def _metadata(model: Model, settings: ExportSettings) -> dict[str, str]:
    """Everything needed to use the file; strings, as ONNX requires."""
    least = model.window + STRIDE
    size = "{} x {}".format(*settings.size) if settings.size else f"any, both sides at least {least} px"
    facts = {
        "image": f"uint8 (height, width, 3): RGB, not normalised; width x height: {size}",
        **{name: OUTPUTS[name] for name in settings.outputs},
        "classes": json.dumps(model.classes) if model.classes else f"0 to {model.clusters - 1}",
        "palette": json.dumps(model.palette.tolist()),
    }
    if model.stationary is not None:
        facts["stationary"] = json.dumps([label for label, yes in enumerate(model.stationary) if yes])
    return {f"fgsn:{key}": value for key, value in facts.items()}


def _compared(
    path: Path, model: Model, outputs: Sequence[str], size: tuple[int, int] | None, images: Sequence[Path]
) -> dict[str, Any]:
    """Compare the file's labels with those of `Model.segment`: share of equal pixels, and seconds of both."""
    if "labels" not in outputs or not images:
        return {"compared_images": 0}
    _, runtime = _packages()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shares, seconds = [], {"pytorch": 0.0, "onnxruntime": 0.0}
    for image in tracked(images, "compare", len(images)):
        pixels = read_image(image)
        if pixels.shape[:2] != size if size else min(pixels.shape[:2]) < model.window + STRIDE:
            continue
        began = time.perf_counter()
        expected = model.segment(pixels)
        between = time.perf_counter()
        (found,) = session.run(["labels"], {"image": pixels})
        seconds["pytorch"] += between - began
        seconds["onnxruntime"] += time.perf_counter() - between
        shares.append(float((expected == found).mean()))
    if not shares:
        raise FgsnError(f"{path} was written, but none of the {len(images)} images has its input size")
    return {
        "compared_images": len(shares),
        "equal_pixels": float(np.mean(shares)),
        "equal_pixels_least": min(shares),
        **{f"seconds_{name}": value / len(shares) for name, value in seconds.items()},
    }


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "onnx", "onnx") from None
    return onnx, onnxruntime


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings about internals of torch's exporters."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)
