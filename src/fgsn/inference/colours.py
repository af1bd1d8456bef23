"""Colours of labels: deterministic, and as different from each other as possible."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

CANDIDATES = 20_000
GREEDY = 1024
LIGHTNESS = (0.35, 0.92)
STRONGEST = 0.22  # chroma; stronger colours are too dominant in an overlay

# The customary colours of street scenes (Cityscapes), familiar to readers of the field.
CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
# Names of the same classes in other data sets, CamVid among them.
SYNONYMS = {
    "pavement": "sidewalk",
    "tree": "vegetation",
    "sign symbol": "traffic sign",
    "sign": "traffic sign",
    "pedestrian": "person",
    "bicyclist": "rider",
    "grass": "terrain",
}
# Linear RGB to the responses of the cones, and their cube roots to lightness, green-red, blue-yellow.
_CONES_OF_RGB = [
    [0.4122214708, 0.2119034982, 0.0883024619],
    [0.5363325363, 0.6806995451, 0.2817188376],
    [0.0514459929, 0.1073969566, 0.6299787005],
]
_OKLAB_OF_ROOTS = [
    [0.2104542553, 1.9779984951, 0.0259040371],
    [0.7936177850, -2.4285922050, 0.7827717662],
    [-0.0040720468, 0.4505937099, -0.8086757660],
]


def published_palette(clusters: int) -> np.ndarray:
    """The colours of the authors' label maps: (K, 3) uint8, hues evenly around the circle, saturation 0.6, value 0.65.

    Neighbours in the list are similar, so `palette` is easier to read; this one is for comparison with their pictures.
    """
    colours = [colorsys.hsv_to_rgb(index / clusters, 0.6, 0.65) for index in range(clusters)]
    return (np.array(colours) * 256).astype(np.uint8)


@lru_cache(maxsize=32)
def palette(clusters: int) -> np.ndarray:
    """Colours of K labels: (K, 3) uint8, all distinct, neighbours in the list far apart.

    Farthest-point sampling in OKLab, where distances approximate perceived differences (B. Ottosson, 2020). The palette
    of fewer labels is a prefix of the palette of more. The array is read-only, since it is shared.
    """
    rng = np.random.default_rng(0)
    candidates = _candidates(rng, max(CANDIDATES, 2 * clusters))
    points = oklab(candidates)
    chosen = [0]
    gap = np.full(len(points), np.inf, dtype=np.float32)
    for _ in range(1, min(clusters, GREEDY)):
        offset = points - points[chosen[-1]]
        np.minimum(gap, np.einsum("nc,nc->n", offset, offset), out=gap)
        chosen.append(int(gap.argmax()))
    # Beyond a thousand colours nobody can tell them apart: distinct is enough.
    rest = np.setdiff1d(np.arange(len(points)), chosen)[: clusters - len(chosen)]
    colours = candidates[np.concatenate([np.array(chosen, dtype=int), rest])]
    colours.setflags(write=False)
    return colours


def class_palette(classes: Sequence[str]) -> np.ndarray:
    """The customary colours of named classes: (K, 3) uint8, distinct.

    Cityscapes' and CamVid's names get Cityscapes' colours (case, `_` and `-` are ignored); other names, and a second
    name for the same class, get a colour of `palette`.
    """
    spare = iter(palette(len(CITYSCAPES) + len(classes)).tolist())
    taken: set[tuple[int, ...]] = set()
    colours = []
    for name in classes:
        key = name.lower().replace("_", " ").replace("-", " ")
        colour = CITYSCAPES.get(SYNONYMS.get(key, key))
        while colour is None or colour in taken:
            colour = tuple(next(spare))
        taken.add(colour)
        colours.append(colour)
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def _candidates(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` distinct colours in random order, none of them too dark, too light or too strong."""
    colours = np.unique(rng.integers(0, 256, size=(2 * count, 3), dtype=np.uint8), axis=0)
    lightness, *chroma = oklab(colours).T
    colours = colours[(lightness > LIGHTNESS[0]) & (lightness < LIGHTNESS[1]) & (np.hypot(*chroma) < STRONGEST)]
    return rng.permutation(colours)[:count]


def oklab(colours: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) uint8 to OKLab (N, 3) float32: lightness, green-red, blue-yellow."""
    encoded = colours.astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return (np.cbrt(linear @ _CONES_OF_RGB) @ _OKLAB_OF_ROOTS).astype(np.float32)
