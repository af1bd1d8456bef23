"""Check that depth maps and poses use the same unit: neighbouring images must agree on the geometry."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fgsn.correspond.depth_maps import DepthView
from fgsn.errors import FgsnError
from fgsn.geometry.posed import PosedImages
from fgsn.geometry.readings import EXPECTED, other_readings

KNOWN_FACTORS = (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0, 0.0254, 0.3048, 1 / 0.3048, 1 / 0.0254)
"""Common unit factors of depth: powers of ten, inches, feet."""
_COARSE, _FINE = np.geomspace(1e-3, 1e3, 121), np.geomspace(0.94, 1.06, 13)
_WIDE, _TOLERANCE = 0.06, 0.02  # relative depth difference in the coarse search, and after it
_IMAGES, _PARTNERS, _PIXELS = 8, 2, 600
_FEWEST = 30  # shared pixels needed to compare two images
_CLEARLY, _AS_GOOD = 0.1, 0.02  # differences between shares that are significant, and that are not
_LEAST, _TRUSTED = 0.2, 0.4  # shares below which depth does not fit, and from which a factor is reported


def check_unit(
    images: PosedImages, conditions: Mapping[str, NDArray[np.int64]], view: Callable[[int], DepthView], unit: float
) -> None:
    """Require that depth maps agree with each other as given, and not only after scaling or with another meaning.

    Args:
        conditions: rows of the images of every condition; images are compared within a condition.
        view: gives the depth of an image.
        unit: the assumed value of a stored 1.

    Raises:
        FgsnError: they disagree; the message names the likely factor or meaning.
    """
    pairs = [(view(one), view(other)) for one, other in _neighbours(images, conditions)]
    share = _mean_agreement(pairs, 1.0, _TOLERANCE)
    coarse: float = max(_COARSE.tolist(), key=lambda factor: np.nan_to_num(_mean_agreement(pairs, factor, _WIDE)))
    known = [factor for factor in KNOWN_FACTORS if 0.9 < factor / coarse < 1.1]
    best, best_share = 1.0, share
    for factor in [*(coarse * _FINE).tolist(), *known]:  # known factors come last, and win ties
        found = _mean_agreement(pairs, factor, _TOLERANCE) + (_AS_GOOD if factor in known else 0)
        if not best_share >= found:
            best, best_share = factor, found
    if np.isnan(best_share):
        return
    share = float(np.nan_to_num(share))
    agree = f"neighbouring images agree at {share:.0%} of their pixels"
    shares = {
        name: float(
            np.nan_to_num(_mean_agreement([(_read_as(name, a), _read_as(name, b)) for a, b in pairs], 1.0, _TOLERANCE))
        )
        for name in other_readings(images.camera_from_world)
    }
    meant = max(shares, key=lambda name: shares[name])
    if shares[meant] > best_share + _CLEARLY:
        raise FgsnError(
            f"the poses contain {meant}: {agree}, but at {shares[meant]:.0%} if they are read so; {EXPECTED}"
        )
    if best_share > max(share + _CLEARLY, _TRUSTED):
        raise FgsnError(
            f"depth maps and poses are in different units: {agree}, but at {best_share:.0%} with depth multiplied by "
            f"{best:.3g}; give --depth-unit {best * unit:.3g} instead of {unit:.3g}"
        )
    if share < _LEAST:
        raise FgsnError(
            f"depth maps and poses do not match: {agree}; check that the "
            "intrinsics belong to these images, and that depth is along the optical axis"
        )


def _neighbours(images: PosedImages, conditions: Mapping[str, NDArray[np.int64]]) -> Iterator[tuple[int, int]]:
    """Pairs of images, spread over all conditions: each with the nearest others that look in the same direction."""
    centres, axes = images.camera_from_world.centre, images.camera_from_world.rotation[:, 2]
    for rows in conditions.values():
        count = min(len(rows), max(2, _IMAGES // len(conditions)))
        for image in rows[np.linspace(0, len(rows) - 1, count).astype(int)]:
            apart = np.linalg.norm(centres[rows] - centres[image], axis=1)
            usable = (axes[rows] @ axes[image] > 0.7) & (apart > 1e-6 * max(1.0, float(np.max(apart))))
            for other in rows[usable][np.argsort(apart[usable])[:_PARTNERS]]:
                yield int(image), int(other)


def _mean_agreement(pairs: list[tuple[DepthView, DepthView]], factor: float, tolerance: float) -> float:
    """Share of the common pixels of two images where their depths, times a factor, agree; NaN if unknown."""
    shares = [share for pair in pairs if not np.isnan(share := _agreement(*pair, factor, tolerance))]
    return float(np.mean(shares)) if shares else np.nan


def _agreement(here: DepthView, there: DepthView, factor: float, tolerance: float) -> float:
    rows = np.nonzero(np.isfinite(here.depth.ravel()))[0]
    rows = rows[:: max(1, len(rows) // _PIXELS)]
    pixels = here.pixels(rows)
    world = here.world(pixels, here.depth.ravel()[rows].astype(np.float64) * factor)
    seen_at, expected = there.project(world)
    off = np.abs(there.depths_at(seen_at) * factor / expected - 1)
    shared, agree = np.isfinite(off[1]), np.fmin(*off) < tolerance
    if shared.sum() < _FEWEST:
        return np.nan
    # Few shared pixels prove nothing: a scene scaled down to a point lies in one spot of the other image.
    return float(np.sum(shared & agree) / max(shared.sum(), 0.1 * len(rows)))


def _read_as(name: str, view: DepthView) -> DepthView:
    return DepthView(view.camera, other_readings(view.camera_from_world)[name], view.depth)
