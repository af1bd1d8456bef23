"""fgsn score-poses: check a result file line by line, and compare its poses with the truth, per condition."""

from pathlib import Path
from typing import Any

import numpy as np

from fgsn.config import ScorePosesSettings
from fgsn.data.dataset import metres_per_unit
from fgsn.errors import FgsnError
from fgsn.evaluation.pose_frames import explain
from fgsn.evaluation.pose_metrics import metrics_by_condition, pose_errors
from fgsn.formats.ground_truth import Truth, read_truth
from fgsn.formats.poses import PoseList, SuffixLookup, read_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.pose import Pose
from fgsn.progress import say


def score_poses(settings: ScorePosesSettings) -> dict[str, Any]:
    """Recall and medians over all queries and per condition.

    Returns:
        Metrics as `fgsn.evaluation.pose_metrics.pose_metrics` gives them, under `all` and each condition's name.

    Raises:
        FgsnError: a file is missing or broken (with its line), a pose is of no known query, or nothing can be compared.
    """
    if settings.poses.samefile(settings.truth):
        raise FgsnError(f"POSES and --truth are both {settings.truth}; give the true poses with --truth")
    truth = read_truth(settings.truth, settings.convention)
    if settings.queries is not None:
        truth = only_queries(truth, [query.name for query in read_queries(settings.queries)], settings)
    results = read_results(settings.poses, known=None if settings.partial else truth.names)
    estimated = in_order(results, truth, settings)
    scale = settings.metres_per_unit or _known_scale(settings.truth)
    if scale is None:
        say(
            f"the scale of {settings.truth} is unknown, so medians and the thresholds 0.25, 0.5 and 5 are in its "
            "units; give --metres-per-unit (1 if its unit is the metre)"
        )
    unit = "units" if scale is None else "metres"
    distances, angles = pose_errors(estimated, truth.camera_from_world)
    if explanation := explain(estimated, truth.camera_from_world, (settings.poses, settings.truth)):
        say(explanation)
    return metrics_by_condition(distances * (scale or 1.0), angles, truth.conditions, unit)


def _known_scale(truth: Path) -> float | None:
    """Metres per unit by the data set of a list of poses, DATASET/truth/winter.txt, or of the folder truth/."""
    return next(filter(None, map(metres_per_unit, list(truth.absolute().parents)[:2])), None)


def only_queries(truth: Truth, names: list[str], settings: ScorePosesSettings) -> Truth:
    """Ground truth of the queries in a list."""
    ends = SuffixLookup(truth.names)
    row_of = {name: row for row, name in enumerate(truth.names)}
    rows = []
    for name in names:
        try:
            rows.append(row_of[ends.find(name)])
        except FgsnError:
            raise FgsnError(f"{settings.truth} has no pose of '{name}', which is in {settings.queries}") from None
    return Truth(names, truth.camera_from_world[np.array(rows, np.int64)], [truth.conditions[row] for row in rows])


def in_order(results: PoseList, truth: Truth, settings: ScorePosesSettings) -> Pose:
    """The estimated poses (N) in the order of the ground truth; NaN for queries without a pose."""
    count = len(truth.names)
    rotation, translation = np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan)
    ends = SuffixLookup(truth.names)
    row_of = {name: row for row, name in enumerate(truth.names)}
    taken: dict[int, str] = {}
    unknown = []
    for source, name in enumerate(results.names):
        try:
            row = row_of[ends.find(name)]
        except FgsnError:
            unknown.append(name)
            continue
        if row in taken:
            raise FgsnError(f"{settings.poses}: '{taken[row]}' and '{name}' are poses of the same query; keep one")
        taken[row] = name
        rotation[row] = results.camera_from_world.rotation[source]
        translation[row] = results.camera_from_world.translation[source]
    if unknown and not taken:
        raise FgsnError(f"no pose in {settings.poses} is of an image in {settings.truth}, as '{unknown[0]}' is not")
    if unknown:
        say(f"poses of images without truth: {len(unknown)}, first '{unknown[0]}'; they do not count")
    return Pose(rotation, translation)
