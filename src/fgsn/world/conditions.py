"""Conditions: light, air, leaves, ground, and camera artefacts."""

from dataclasses import dataclass, replace

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Condition:
    """Appearance of the town. Colours are linear light; 1 is a white wall under the sky of the reference."""

    sun: Colour = (0.0, 0.0, 0.0)
    """Light of the sun; black if it is hidden."""
    sun_direction: tuple[float, float, float] = (-0.35, 0.62, 0.70)
    """Direction to the sun."""
    sky_light: Colour = (0.92, 0.96, 1.02)
    """Ambient light from above."""
    bounce: Colour = (0.36, 0.35, 0.33)
    """Ambient light from below."""
    zenith: Colour = (0.62, 0.68, 0.76)
    horizon: Colour = (0.86, 0.88, 0.90)
    clouds: float = 0.5
    """Contrast of the clouds."""
    haze: float = 0.0012
    """Extinction of the air per metre; distant things fade to the colour of the horizon."""
    leaves: float = 1.0
    """Share of the leaves that are on the trees."""
    autumn: float = 0.0
    """Autumn colour of the leaves, 0 to 1."""
    litter: float = 0.0
    """Fallen leaves on the ground, 0 to 1."""
    dead_grass: float = 0.0
    snow: float = 0.0
    """Snow on upward-facing surfaces, 0 to 1."""
    wet: float = 0.0
    """Water on the ground and walls, 0 to 1."""
    lamps: float = 0.0
    """Brightness of street lamps, windows and headlights."""
    exposure: float = 1.12
    warmth: float = 0.0
    """White balance; positive values are yellowish."""
    noise: float = 0.006
    """Standard deviation of the sensor noise at mid-grey."""
    blur: float = 0.0
    """Standard deviation of the blur, in pixels of an image 512 pixels wide."""
    drops: int = 0
    """Number of water drops on the lens."""
    streaks: float = 0.0
    """Falling rain."""
    flakes: float = 0.0
    """Falling snow."""
    parked: float = 0.45
    """Share of the parking spaces that are occupied."""
    day: int = 0
    """Number of the day; people, traffic lights and curtains differ between days."""


_REFERENCE = Condition()
_LOOKS: dict[str, Condition] = {
    "reference": _REFERENCE,
    "reference2": _REFERENCE,
    "sun": replace(
        _REFERENCE, sun=(2.1, 1.88, 1.42), sky_light=(0.26, 0.34, 0.50), bounce=(0.26, 0.23, 0.18),
        zenith=(0.13, 0.29, 0.68), horizon=(0.58, 0.72, 0.90), clouds=0.25, haze=0.0009, exposure=0.95, warmth=0.05,
    ),
    "autumn": replace(
        _REFERENCE, sun=(1.3, 0.95, 0.55), sun_direction=(0.45, -0.72, 0.38), sky_light=(0.42, 0.45, 0.52),
        bounce=(0.25, 0.21, 0.16), zenith=(0.36, 0.48, 0.66), horizon=(0.92, 0.80, 0.62), clouds=0.8, haze=0.003,
        leaves=0.5, autumn=1.0, litter=0.75, dead_grass=0.35, wet=0.15, warmth=0.16, noise=0.01,
    ),
    "bare": replace(
        _REFERENCE, sky_light=(0.46, 0.46, 0.50), bounce=(0.15, 0.145, 0.14), zenith=(0.36, 0.38, 0.43),
        horizon=(0.60, 0.60, 0.62), clouds=0.7, haze=0.005, leaves=0.0, litter=0.18, dead_grass=0.9, wet=0.55,
        exposure=0.95, warmth=-0.05, noise=0.02, blur=0.35,
    ),
    "snow": replace(
        _REFERENCE, sky_light=(0.72, 0.76, 0.84), bounce=(0.50, 0.52, 0.56), zenith=(0.80, 0.82, 0.86),
        horizon=(0.86, 0.88, 0.91), clouds=0.12, haze=0.014, leaves=0.0, dead_grass=0.8, snow=1.0, wet=0.2,
        exposure=0.95, warmth=-0.10, noise=0.016, blur=0.45, flakes=1.0,
    ),
    "rain": replace(
        _REFERENCE, sky_light=(0.42, 0.45, 0.50), bounce=(0.15, 0.155, 0.16), zenith=(0.36, 0.39, 0.43),
        horizon=(0.56, 0.58, 0.60), clouds=0.5, haze=0.007, wet=1.0, lamps=0.12, exposure=1.05, warmth=-0.04,
        noise=0.018, blur=0.6, drops=14, streaks=1.0,
    ),
    "night": replace(
        _REFERENCE, sky_light=(0.022, 0.025, 0.036), bounce=(0.011, 0.010, 0.010), zenith=(0.004, 0.006, 0.014),
        horizon=(0.030, 0.024, 0.022), clouds=0.5, haze=0.002, lamps=1.0, exposure=1.7, noise=0.085, blur=1.1, wet=0.1,
    ),
}  # fmt: skip

LOOKS = {name: replace(look, day=day) for day, (name, look) in enumerate(_LOOKS.items())}
"""Condition of every drive."""
