"""Why poses may be far from the truth: their numbers mean something else, or they are in another frame."""

from pathlib import Path

import numpy as np

from fgsn.evaluation.pose_metrics import pose_errors
from fgsn.geometry.pose import Pose
from fgsn.geometry.readings import CENTRES, EXPECTED, other_readings

CLEARLY = 10.0
"""Factor by which an explanation must reduce the errors before it is told."""
_FEWEST, _FEWEST_ALIGNED = 3, 6  # poses that an explanation needs; more if a frame is fitted to them
_COMPARED = 300


def explain(estimated: Pose, truth: Pose, files: tuple[Path, Path]) -> str:
    """Explain large errors by a wrong meaning of the numbers or by a similarity between two frames.

    Returns a sentence that names the two files, or "" if no explanation reduces the errors by `CLEARLY`.
    """
    rows = np.nonzero(np.isfinite(pose_errors(estimated, truth)[0]))[0]
    if len(rows) < _FEWEST:
        return ""
    rows = rows[:: max(1, len(rows) // _COMPARED)]
    guess, true = estimated[rows], truth[rows]
    poses, truths = files
    given = _misfit(guess, true)
    errors = {_meaning(poses, truths, name): _misfit(read, true) for name, read in other_readings(guess).items()}
    for name, read in other_readings(true).items():
        remedy = "try --convention centre" if name == CENTRES else EXPECTED
        errors[f"{truths} contained {name}; {remedy}"] = _misfit(guess, read)
    best = min(errors, key=lambda name: errors[name])
    if given > CLEARLY * max(errors[best], 1e-9):
        return f"the poses would be {given / max(errors[best], 1e-9):.0f} times nearer to the truth if {best}"
    for name, read in ({"": guess} | other_readings(guess)).items() if len(rows) >= _FEWEST_ALIGNED else ():
        scale, aligned = _aligned(read, true)
        if given > CLEARLY * max(_misfit(aligned, true), 1e-9):
            distances, angles = pose_errors(aligned, true)
            return (
                f"the poses are in another frame than {truths}{f' and {poses} contains {name}' if name else ''}: a "
                f"turn, a shift and a scale of {scale:.4g} bring them to {np.median(distances):.3g} and "
                f"{np.median(angles):.2g}° from the truth (medians); localize in a map of the same frame"
            )
    return ""


def _meaning(poses: Path, truths: Path, name: str) -> str:
    either = f", or {truths} translations (--convention translation)" if name == CENTRES else f"; {EXPECTED}"
    return f"{poses} contained {name}{either}"


def _misfit(estimated: Pose, truth: Pose) -> float:
    """Median error of the positions, relative to their extent, plus median error of the rotations in radians."""
    distances, angles = pose_errors(estimated, truth)
    extent = np.median(np.linalg.norm(truth.centre - np.median(truth.centre, axis=0), axis=1))
    return float(np.median(distances) / max(extent, 1e-9) + np.radians(np.median(angles)))


def _aligned(estimated: Pose, truth: Pose) -> tuple[float, Pose]:
    """The similarity between the frames of two lists of poses, robust to outliers; its scale, and the poses moved."""
    turns = np.swapaxes(truth.rotation, 1, 2) @ estimated.rotation  # truth_from_estimated, by every pose
    apart = np.linalg.norm(turns[:, None] - turns[None], axis=(2, 3))
    turn = turns[np.argmin(np.median(apart, axis=1))]
    here, there = estimated.centre, truth.centre
    one, other = np.triu_indices(len(here), 1)
    lengths = np.linalg.norm(here[one] - here[other], axis=1), np.linalg.norm(there[one] - there[other], axis=1)
    scale = float(np.median(lengths[1]) / max(float(np.median(lengths[0])), 1e-12))
    moved = scale * here @ turn.T
    return scale, Pose.from_centre(estimated.rotation @ turn.T, moved + np.median(there - moved, axis=0))
