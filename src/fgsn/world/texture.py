"""Procedural patterns in surface coordinates (metres), band-limited to the footprint of a pixel on the surface.

All functions are pure and work on flat float32 arrays with one value per ray.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]  # float32 in practice; NumPy's types cannot express it
_TILE = 512  # side of the noise tile in texels


def _pyramid() -> tuple[Array, NDArray[np.int64]]:
    """Flattened mip levels of tileable noise with detail at all scales, zero mean and unit deviation; their starts."""
    rng = np.random.default_rng(20191)
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None])
    # Amplitude falls with the square root of frequency: strong grain, and some blotches.
    spectrum = np.fft.rfft2(rng.normal(size=(_TILE, _TILE))) / np.maximum(frequency, 2 / _TILE) ** 0.5
    spectrum[0, 0] = 0
    level = np.fft.irfft2(spectrum, s=(_TILE, _TILE))
    level /= level.std()
    levels, starts = [], []
    while len(level) >= 4:
        starts.append(sum(map(len, levels)))
        levels.append(level.ravel())
        level = level.reshape(len(level) // 2, 2, -1, 2).mean(axis=(1, 3))
    return np.concatenate(levels).astype(np.float32), np.array(starts)


_NOISE, _STARTS = _pyramid()


def noise(u: Array, v: Array, texel: float, footprint: Array, shift: Array | float = 0.0) -> Array:
    """Band-limited noise, about N(0, 1) close up, fading as the footprint grows.

    Args:
        u, v: surface coordinates in metres, v up.
        texel: size of the finest detail in metres.
        footprint: size of a pixel on the surface in metres.
        shift: shift of the pattern; use a different one for every object.
    """
    exact_level = np.log2(np.maximum(footprint / texel, 1.0))
    level = np.clip(np.rint(exact_level).astype(np.int32), 0, len(_STARTS) - 1)
    side = _TILE >> level
    scale = (1.0 / texel) * np.exp2(-level).astype(np.float32)
    x = (u + 7.13 * shift) * scale
    y = (v + 3.71 * shift) * scale
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    x0, y0 = x0.astype(np.int32) & (side - 1), y0.astype(np.int32) & (side - 1)
    x1, y1 = (x0 + 1) & (side - 1), (y0 + 1) & (side - 1)
    start = _STARTS[level]
    row0, row1 = start + y0 * side, start + y1 * side
    top = _NOISE[row0 + x0] * (1 - fx) + _NOISE[row0 + x1] * fx
    bottom = _NOISE[row1 + x0] * (1 - fx) + _NOISE[row1 + x1] * fx
    return top * (1 - fy) + bottom * fy


def random_of(*keys: NDArray[np.generic] | int) -> Array:
    """Hash integer keys to numbers in [0, 1); arrays broadcast."""
    state = np.array(2166136261, np.uint32)
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key).astype(np.int64).astype(np.uint32)) * np.uint32(0x9E3779B1)
            state = state ^ (state >> np.uint32(15))
            state = state * np.uint32(0x85EBCA77)
            state = state ^ (state >> np.uint32(13))
    return np.asarray(state >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def within(value: Array, low: Array | float, high: Array | float, footprint: Array) -> Array:
    """Share of the footprint around `value` that lies in [low, high]."""
    width = np.maximum(footprint, 1e-4)
    left = np.maximum(value - width / 2, low)
    right = np.minimum(value + width / 2, high)
    return np.clip((right - left) / width, 0.0, 1.0)


def lines(value: Array, period: Array | float, width: float, footprint: Array) -> Array:
    """Share of the footprint that is covered by lines of `width` at the multiples of `period`."""
    inside = np.abs((value / period + 0.5) % 1.0 - 0.5) * period
    near = within(inside, -width / 2, width / 2, footprint)
    # A footprint above half a period contains several lines: blend to their mean.
    many = np.clip(footprint / (0.5 * period) - 0.5, 0.0, 1.0)
    return near * (1 - many) + width / period * many


def smooth(value: Array, low: float, high: float) -> Array:
    """Smoothstep: 0 below `low`, 1 above `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def rgb(values: ArrayLike) -> Array:
    """Colours or vectors as float32, so that images stay float32."""
    return np.asarray(values, np.float32)


def mix(a: Array | tuple[float, ...], b: Array | tuple[float, ...], share: Array | np.float32) -> Array:
    """Blend colours (N, 3) or (3,): a where `share`, (N,) or scalar, is 0, b where it is 1."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return a + (b - a) * np.asarray(share)[..., None]
