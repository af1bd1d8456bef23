"""Find what is wrong with labelled images before a training run does."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fgsn.data.images import image_size, read_image
from fgsn.data.labelled import LabelledSet, Sample, open_labelled
from fgsn.errors import FgsnError
from fgsn.progress import tracked


def check_labelled(spec: str, decode: int) -> dict[str, Any]:
    """Check the labelled set FORMAT:PATH: counts, and under `problems` one line per problem.

    `decode` samples, spread evenly, are decoded in search of broken files and unknown label ids; 0 decodes all. Of the
    others only the sizes are compared.
    """
    try:
        labelled = open_labelled(spec)
    except FgsnError as error:
        return {"kind": "labelled images", "problems": [str(error)]}
    samples = labelled.training + labelled.validation
    wrong = dict(_failures(samples, _compare_sizes, "sizes"))
    fit = [sample for sample in samples if sample not in wrong]
    count = min(decode or len(fit), len(fit))
    chosen = [fit[round(position)] for position in np.linspace(0, len(fit) - 1, count)]
    wrong |= _failures(chosen, lambda sample: _read(labelled, sample), "reading")
    return {
        "kind": "labelled images",
        "format": labelled.name,
        "classes": len(labelled.classes),
        "training": len(labelled.training),
        "validation": len(labelled.validation),
        "read": count,
        "problems": list(wrong.values()),
    }


def _failures(samples: list[Sample], inspect: Callable[[Sample], object], title: str) -> Iterator[tuple[Sample, str]]:
    for sample in tracked(samples, title, len(samples), unit=" samples"):
        try:
            inspect(sample)
        except FgsnError as error:
            yield sample, str(error)


def _compare_sizes(sample: Sample) -> None:
    label, image = image_size(sample.label), image_size(sample.image)
    if label != image:
        raise FgsnError(
            f"{sample.label} is {label[0]} x {label[1]}, but its image {sample.image} is {image[0]} x {image[1]}"
        )


def _read(labelled: LabelledSet, sample: Sample) -> None:
    read_image(sample.image)
    labelled.read_label(sample)
