"""What a matcher is, the list of them by name, and what they share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from fgsn.errors import FgsnError, nearest
from fgsn.matching.keypoints import Keypoints

if TYPE_CHECKING:
    import torch

LOOSE = "-loose"
ANY_COSINE = -2.0
_MOST_ENLARGED = 3.0


class Matcher(Protocol):
    """Finds local features in an image, and matches those of two images."""

    name: str
    """As in `make_matcher`."""
    features: str
    """Kind of its features; matchers with the same kind can share them."""
    keypoints: int
    """How many features an image gets, at most."""
    device: str
    """Where it computes."""

    def extract(self, image: UInt8[np.ndarray, "height width 3"]) -> Keypoints:
        """Find features in an RGB image."""
        ...

    def match(
        self, a: Keypoints, b: Keypoints
    ) -> tuple[Int64[np.ndarray, "matches 2"], Float32[np.ndarray, " matches"]]:
        """Match features one to one.

        Returns:
            Rows of `a` and `b` that belong together, and how sure each match is (0 to 1).
        """
        ...


Factory = Callable[[int, str], Matcher]
_FACTORIES: dict[str, Factory] = {}


Registered = TypeVar("Registered", bound=Factory)


def register(name: str) -> Callable[[Registered], Registered]:
    """Make a matcher known by a name: decorates a class or function of (keypoints, device)."""

    def known(factory: Registered) -> Registered:
        _FACTORIES[name] = factory
        return factory

    return known


class Loose:
    """The features of a matcher; any two that are each other's nearest are a match, however unlike they are.

    Between seasons that finds many more right matches, among far more wrong ones: for those who can tell them apart.
    """

    def __init__(self, matcher: Matcher) -> None:
        self.name = matcher.name + LOOSE
        self.features, self.keypoints, self.device = matcher.features, matcher.keypoints, matcher.device
        self.extract = matcher.extract

    def match(
        self, a: Keypoints, b: Keypoints
    ) -> tuple[Int64[np.ndarray, "matches 2"], Float32[np.ndarray, " matches"]]:
        """Match mutual nearest neighbours; see `Matcher`."""
        return mutual_nearest(a.descriptors, b.descriptors, ANY_COSINE, self.device)


def make_matcher(name: str, keypoints: int = 2048, device: str = "cpu") -> Matcher:
    """Build a matcher and load its weights.

    Args:
        name: `xfeat-lighterglue`, `xfeat`, `aliked`, `disk` or `sift`; with `-loose` behind it, see `Loose`.
        keypoints: how many features an image gets, at most.
        device: where it computes, `cpu` or `cuda`; SIFT always takes the CPU.

    Raises:
        FgsnError: unknown name, or the package of the matcher is missing or does not work here.
    """
    from fgsn.matching import lightglue, sift, xfeat  # noqa: F401  they make themselves known

    if name.endswith(LOOSE):
        return Loose(make_matcher(name.removesuffix(LOOSE), keypoints, device))
    if name not in _FACTORIES:
        raise FgsnError(f"unknown matcher '{name}'; {nearest(name, _FACTORIES)}")
    return _FACTORIES[name](keypoints, device)


def matcher_names() -> list[str]:
    """Names of all matchers, those whose packages are missing too."""
    from fgsn.matching import lightglue, sift, xfeat  # noqa: F401

    return sorted(_FACTORIES)


def mutual_nearest(
    a: Float32[np.ndarray, "m dim"], b: Float32[np.ndarray, "n dim"], least: float, device: "torch.device | str" = "cpu"
) -> tuple[Int64[np.ndarray, "matches 2"], Float32[np.ndarray, " matches"]]:
    """Match descriptors of length 1 that are each other's nearest.

    Args:
        a: descriptors of one image.
        b: descriptors of the other one.
        least: cosine that a match must reach.
        device: where to compute.

    Returns:
        Rows of `a` and `b`, and the cosine of each match.
    """
    import torch

    if not len(a) or not len(b):
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    with torch.inference_mode():
        cosine = torch.from_numpy(a).to(device) @ torch.from_numpy(b).to(device).T
        best, forth = cosine.max(dim=1)
        back = cosine.argmax(dim=0)
        rows = torch.arange(len(a), device=forth.device)
        rows = rows[(back[forth] == rows) & (best > least)]
        pairs = torch.stack([rows, forth[rows]], dim=1)
        return pairs.cpu().numpy(), best[rows].cpu().numpy()


def extract_scaled(matcher: Matcher, image: UInt8[np.ndarray, "height width 3"], longest: int) -> Keypoints:
    """Find features in an image that is resized first; their pixels are those of the image as it is.

    Small images are enlarged, too: detectors are exact to a pixel or two of the image that they are given.

    Args:
        matcher: finds them.
        image: RGB.
        longest: the longer side is made this long, in pixels, but at most three times as long as it is; 0 leaves it.
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
