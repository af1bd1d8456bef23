"""The interface of matchers, their registry, and what they share."""

from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fgsn.errors import FgsnError, nearest
from fgsn.matching.feature_matches import FeatureMatches
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.nearest import mutual_nearest
from fgsn.progress import say

UNFILTERED = "-unfiltered"
"""Suffix of the names of matchers that keep all mutual nearest neighbours."""
_FORMER_UNFILTERED = "-loose"
_MOST_ENLARGED = 3.0


class Matcher(Protocol):
    """Extracts local features from images, and matches those of two images."""

    name: str
    """As in `make_matcher`."""
    features: str
    """Kind of its features; matchers with the same kind share them."""
    keypoints: int
    """Maximum number of features per image."""
    device: str
    """Torch device that it runs on."""
    compares_descriptors: bool
    """Whether `match` compares descriptors by their dot products alone, so that it can match augmented ones."""

    def extract(self, image: UInt8[np.ndarray, "height width 3"]) -> Keypoints:
        """Extract features from an RGB image."""
        ...

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match features one to one.

        Returns:
            Rows of the matched features in `a` and `b`, and the score of each match (0 to 1).
        """
        ...


Factory = Callable[[int, str], Matcher]
_FACTORIES: dict[str, Factory] = {}
Registered = TypeVar("Registered", bound=Factory)


def register(name: str) -> Callable[[Registered], Registered]:
    """Register a matcher under a name: decorates a class or function of (keypoints, device)."""

    def registered(factory: Registered) -> Registered:
        _FACTORIES[name] = factory
        return factory

    return registered


class Unfiltered:
    """The features of a matcher, matched as mutual nearest neighbours without a similarity threshold or ratio test.

    Between seasons this finds many more correct matches among far more wrong ones, for methods that separate the two.
    """

    compares_descriptors = True

    def __init__(self, matcher: Matcher) -> None:
        self.name = matcher.name + UNFILTERED
        self.features, self.keypoints, self.device = matcher.features, matcher.keypoints, matcher.device
        self.extract = matcher.extract

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match mutual nearest neighbours; see `Matcher`."""
        return mutual_nearest(a.descriptors, b.descriptors, device=self.device)


def make_matcher(name: str, keypoints: int = 2048, device: str = "cpu") -> Matcher:
    """Build a matcher and load its weights.

    Args:
        name: `xfeat-lighterglue`, `xfeat`, `aliked`, `disk` or `sift`, each also with the suffix `-unfiltered` (see
            `Unfiltered`).
        keypoints: maximum number of features per image.
        device: `cpu` or `cuda`; SIFT always runs on the CPU.

    Raises:
        FgsnError: the name is unknown, or the matcher's package is missing or cannot be imported.
    """
    from fgsn.matching import lightglue, sift, xfeat  # noqa: F401  registers them

    name = current_name(name)
    known = [*_FACTORIES, *(f"{one}{UNFILTERED}" for one in _FACTORIES)]
    if name not in known:
        hint = nearest(name, known)
        if "did you mean" not in hint:
            hint = f"{nearest(name, _FACTORIES)}, each also with {UNFILTERED}"
        raise FgsnError(f"unknown matcher '{name}'; {hint}")
    made = _FACTORIES[name.removesuffix(UNFILTERED)](keypoints, device)
    return Unfiltered(made) if name.endswith(UNFILTERED) else made


@cache
def current_name(name: str) -> str:
    """The name of a matcher with its former suffix replaced; reports the replacement once on stderr."""
    if not name.endswith(_FORMER_UNFILTERED):
        return name
    current = name.removesuffix(_FORMER_UNFILTERED) + UNFILTERED
    say(f"fgsn: the matcher {name} is now {current}; the old name will go in the next version")
    return current


def extract_scaled(matcher: Matcher, image: UInt8[np.ndarray, "height width 3"], longest: int) -> Keypoints:
    """Extract features from the resized image; their pixels are those of the original image.

    Small images are enlarged: detectors are accurate to a pixel or two of the image that they see.

    `longest` is the length of the longer side after resizing, in pixels, at most three times the original; 0 keeps it.
    """
    height, width = image.shape[:2]
    scale = min(longest / max(width, height), _MOST_ENLARGED) if longest else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return matcher.extract(image)
    found = matcher.extract(np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)))
    pixels = (found.pixels + 0.5) * (width / size[0], height / size[1]) - 0.5
    pixels = np.clip(pixels, 0, (width - 1, height - 1)).astype(np.float32)
    return Keypoints(pixels, found.descriptors, found.scores, (width, height))
