"""Photographs and label maps as data URIs, small enough that a page with many of them stays light."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fgsn.data.images import read_image
from fgsn.inference.label_maps import read_label_map, read_palette

WIDTHS = (480, 360, 270, 200, 140)
JPEG_QUALITY = 80


class View(NamedTuple):
    """One photograph of a place with its label maps."""

    condition: str
    """The condition it was taken in."""
    image: Path
    """The photograph."""
    label_maps: Mapping[str, Path]
    """Label map files by the name of their row (the name of the model)."""


@dataclass(frozen=True)
class Scene:
    """One place in several conditions."""

    place: str
    """Its name."""
    columns: Sequence[View | tuple[str, Path, Mapping[str, Path]]]
    """A view for each condition."""

    @property
    def rows(self) -> list[str]:
        """Names of the rows of label maps."""
        return list(dict.fromkeys(name for _, _, label_maps in self.columns for name in label_maps))


class Pictures(NamedTuple):
    """A scene as data URIs, ready for the page."""

    place: str
    conditions: list[str]
    photographs: list[str]
    label_rows: dict[str, list[str | None]]


def embed(scenes: Sequence[Scene], budget: int) -> list[Pictures]:
    """Turn scenes into data URIs at the largest width at which all of them together fit into `budget` bytes.

    Raises:
        FgsnError: a photograph or label map is missing or broken.
    """
    pictures: list[Pictures] = []
    for width in WIDTHS:
        pictures = [_embed(scene, width) for scene in scenes]
        if sum(len(uri) for scene in pictures for uri in _uris(scene)) <= budget:
            break
    return pictures


def _embed(scene: Scene, width: int) -> Pictures:
    return Pictures(
        scene.place,
        [condition for condition, _, _ in scene.columns],
        [photograph(image, width) for _, image, _ in scene.columns],
        {
            row: [label_picture(maps[row], width) if row in maps else None for _, _, maps in scene.columns]
            for row in scene.rows
        },
    )


def photograph(path: Path, width: int) -> str:
    """A photograph as a JPEG data URI, at most `width` pixels wide."""
    image = Image.fromarray(read_image(path))
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    return _uri(image, "JPEG", quality=JPEG_QUALITY)


def label_picture(path: Path, width: int) -> str:
    """A label map in its own colours as a PNG data URI, at most `width` pixels wide."""
    labels, _ = read_label_map(path)
    colours, rows = read_palette(path), labels.shape[0]
    if labels.shape[1] > width:
        # Every pixel of the small picture takes one label: mixed colours would stand for labels that are not there.
        rows = max(1, round(rows * width / labels.shape[1]))
        across = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
        down = ((np.arange(rows) + 0.5) * labels.shape[0] / rows).astype(int)
        labels = labels[down[:, None], across]
    used, small = np.unique(labels, return_inverse=True)
    if len(used) > 256:
        return _uri(Image.fromarray(colours[labels]), "PNG", optimize=True)
    image = Image.fromarray(small.reshape(labels.shape).astype(np.uint8))
    image.putpalette(colours[used].tobytes())
    return _uri(image, "PNG", optimize=True)


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _uris(scene: Pictures) -> list[str]:
    return scene.photographs + [uri for row in scene.label_rows.values() for uri in row if uri]
