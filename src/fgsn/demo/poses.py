"""Poses of the demo: images of the validation places are localized in the map of the reference drive."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.config import LocalizeSettings, ScorePosesSettings, TrackSettings
from fgsn.config.localization import AUGMENT_WEIGHT
from fgsn.data.correspondences import stored_paths
from fgsn.data.dataset import Dataset
from fgsn.errors import CannotWriteError, FgsnError, MissingExtraError
from fgsn.evaluation.score_poses import score_poses
from fgsn.files import numbered_lines, write_text, write_yaml
from fgsn.formats.poses import read_results, write_results
from fgsn.formats.priors import read_odometry
from fgsn.geometry.pose import Pose
from fgsn.localization.localize import localize
from fgsn.progress import say
from fgsn.tracking.track import track_sequences

MATCHER = "xfeat-unfiltered"
MAX_ERROR = 4.0
"""Maximum reprojection error in pixels; the images of the demo are small."""
METHODS: dict[str, dict[str, Any]] = {
    "p3p": {"method": "p3p"},
    "p3p_position": {"method": "p3p", "augment_position": AUGMENT_WEIGHT},
    "p3p_fgsn": {"method": "p3p", "augment": AUGMENT_WEIGHT},
    "ssmc_base": {"method": "ssmc", "labels": "base"},
    "ssmc_fgsn": {"method": "ssmc", "labels": "fgsn"},
    "gsmc_fgsn": {"method": "gsmc", "labels": "fgsn"},
}
"""Settings of `fgsn localize`, and the network whose label maps it uses. `p3p_position` is a control: what the position
in the image adds to descriptors without looking at it."""
TRACK, BLIND = "pfsl_fgsn", "odometry"
"""The particle filter, and its control: its start, moved by the odometry alone."""
_IDENTITY = "1 0 0 0 0 0 0"


def demo_poses(
    out: Path, world: Path, conditions: Sequence[str], labels: Mapping[str, Path], model: Path, **common: Any
) -> dict[str, dict[str, list[float]]]:
    """Localize the validation places of the prepared synthetic town in every condition, by every method.

    Args:
        out: folder for poses, lists and matches.
        labels: folders with label maps of all images, by the networks `base` and `fgsn`.
        model: the network `fgsn`, whose labels are appended to descriptors.
        common: seed and device.

    Returns:
        By method and condition, and for `all`: recall in percent within the three thresholds. Methods that find no
        pose are missing.
    """
    lists = {kind: _validation_lists(world, conditions, kind, out / "lists") for kind in ("queries", "odometry")}
    priors = tuple(world / "priors" / f"{condition}.txt" for condition in conditions)
    recall: dict[str, dict[str, list[float]]] = {}

    def score(name: str) -> None:
        settings = ScorePosesSettings(
            poses=out / f"{name}.txt", truth=world / "truth", queries=out / "lists" / "queries"
        )
        recall[name] = {key: metrics["recall"] for key, metrics in score_poses(settings).items()}

    for name, given in METHODS.items():
        chosen = {key: value for key, value in given.items() if key != "labels"}
        folder = labels.get(given.get("labels", ""))
        if "augment" in chosen:
            chosen["model"] = model
        try:
            localize(
                LocalizeSettings(
                    map=world / "sparse", queries=lists["queries"], priors=priors, images=world / "images",
                    map_labels=folder, query_labels=folder, matcher=MATCHER, max_error=MAX_ERROR,
                    out=out / f"{name}.txt", work=out / "work", workers=0, **chosen, **common,
                )
            )  # fmt: skip
            score(name)
        except (MissingExtraError, CannotWriteError):
            raise
        except FgsnError as error:  # a tiny town may have too few matches
            say(f"fgsn: {name} is skipped: {error}")
    known = [name for name in ("ssmc_fgsn", "p3p") if name in recall]
    if known and (drives := _starts(lists, out / f"{known[0]}.txt", out / "start.txt")):
        tracking = TrackSettings(
            map=world / "sparse", map_labels=labels["fgsn"], query_labels=labels["fgsn"], priors=priors,
            queries=tuple(lists["queries"][row] for row in drives),
            odometry=tuple(lists["odometry"][row] for row in drives), start=out / "start.txt", data=world,
            data_labels=labels["fgsn"], out=out / f"{TRACK}.txt",
            start_metres=1.0, start_degrees=2.0, **common,  # the start is a single-shot pose
        )  # fmt: skip
        track_sequences(tracking)
        score(TRACK)
        starts = read_results(tracking.start).camera_from_world
        alone = [read_odometry(path) for path in tracking.odometry]
        moved = Pose.concatenate(drive.moved(starts[number]) for number, drive in enumerate(alone))
        write_results(out / f"{BLIND}.txt", [name for drive in alone for name in drive.names], moved)
        given = tracking.as_dict()
        write_yaml(out / f"{BLIND}.config.yaml", {name: given[name] for name in ("queries", "odometry", "start")})
        score(BLIND)
    return recall


def _validation_lists(world: Path, conditions: Sequence[str], kind: str, out: Path) -> tuple[Path, ...]:
    """Write lists of the validation places only; the odometry of the first image of a drive becomes the identity."""
    names = {stored_paths(pair)[1] for pair in Dataset.open(world).pairs("validation")}
    files = []
    for condition in conditions:
        lines = [line for _, line in numbered_lines(world / kind / f"{condition}.txt") if line.split()[0] in names]
        if kind == "odometry":
            lines[0] = f"{lines[0].split()[0]} {_IDENTITY}"
        files.append(out / kind / f"{condition}.txt")
        write_text(files[-1], "".join(f"{line}\n" for line in lines))
    return tuple(files)


def _starts(lists: Mapping[str, tuple[Path, ...]], poses: Path, out: Path) -> list[int]:
    """Write the single-shot poses of the first images of the drives; returns the indices of drives that have one."""
    found = read_results(poses)
    first = [next(line for _, line in numbered_lines(path)).split()[0] for path in lists["queries"]]
    drives = [row for row, name in enumerate(first) if name in found.names]
    if drives:
        rows = np.array([found.names.index(first[row]) for row in drives])
        write_results(out, [first[row] for row in drives], found.camera_from_world[rows])
    return drives
