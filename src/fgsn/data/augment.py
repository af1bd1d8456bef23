"""Random augmentation of training images; every function takes its random generator, so samples are reproducible."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def generator(seed: int, *keys: int) -> np.random.Generator:
    """The random generator of one sample: a pure function of the seed and the keys (step, position in the batch)."""
    return np.random.default_rng((seed, *keys))


def jittered(
    image: UInt8[np.ndarray, "height width 3"], strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Random gain per channel, brightness, contrast, saturation and gamma of an RGB image.

    A strength of 0 changes nothing, 1 is strong (gains of about 0.6 to 1.6).
    """
    if strength == 0:
        return image
    gain, contrast, saturation, gamma = np.exp2(strength * 0.7 * rng.uniform(-1, 1, 4)).astype(np.float32)
    channels = np.exp2(strength * 0.25 * rng.uniform(-1, 1, 3)).astype(np.float32)
    pixels = image.astype(np.float32) * (gain * channels)
    grey = (pixels @ LUMA)[..., None]
    pixels = grey + (pixels - grey) * saturation
    mean = grey.mean()
    pixels = ((mean + (pixels - mean) * contrast) / 255.0).clip(0.0, 1.0)
    return (255.0 * pixels**gamma + 0.5).astype(np.uint8)


def scaled(image: np.ndarray, scale: float, nearest: bool = False) -> np.ndarray:
    """Image or label map resized by a factor."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize(size, method))


def padded(array: np.ndarray, side: int, value: int) -> np.ndarray:
    """The array, padded below and to the right until both sides have at least `side` pixels."""
    height, width = array.shape[:2]
    margins = [(0, max(0, side - height)), (0, max(0, side - width))] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, margins, constant_values=value)


def random_window(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A square window at a random position inside an array of shape (height, width, …)."""
    top = int(rng.integers(0, shape[0] - side + 1))
    left = int(rng.integers(0, shape[1] - side + 1))
    return slice(top, top + side), slice(left, left + side)
