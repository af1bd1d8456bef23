"""Recall of `fgsn track` in synthetic towns that no network has seen, beside odometry alone.

    python benchmarks/track_town.py --out OUT --seeds 30001 30002 30003 --places 20 --data-seed 52

Each condition is a drive from place to place. The start is the true pose of its first image, off by random errors. The
control follows the odometry from the same start and looks at no image. Label confusions are counted in the town of
--data-seed. The rest is as in localize_town.py.
"""

from pathlib import Path

import numpy as np
from localize_town import Town, make_town, pose_of, town_parser
from scipy.spatial.transform import Rotation

from fgsn.config import PrepareSettings, TrackSettings
from fgsn.data.prepare import prepare
from fgsn.files import write_json
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.poses import read_results, write_results
from fgsn.formats.priors import read_odometry
from fgsn.geometry.pose import Pose
from fgsn.tracking.track import track_sequences

STARTS = ((0.0, 0.0), (0.5, 1.0), (1.0, 2.0))
"""Standard deviations of the start's error: metres along each axis of the ground, degrees about each axis."""


def write_starts(town: Town, out: Path, metres: float, degrees: float) -> None:
    """A rough pose of the first image of every drive."""
    rng, truth = np.random.default_rng(0), read_truth(town.root / "truth")
    names = [read_odometry(path).names[0] for path in town.lists("odometry")]
    true = pose_of(truth, names)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=(len(names), 3))).as_matrix()
    aside = metres * rng.normal(size=(len(names), 3)) * (1, 1, 0.2)
    write_results(out, names, Pose.from_centre(turn @ true.rotation, true.centre + aside))


def tracked(town: Town, data: Town, metres: float, degrees: float) -> dict[str, np.ndarray]:
    """Hits (places, conditions, thresholds) of the filter and of odometry alone."""
    start = town.out / "start.txt"
    write_starts(town, start, metres, degrees)
    labels, files = town.labels("labels"), {"pfsl": town.out / "track.txt", "odometry": town.out / "odometry.txt"}
    track_sequences(
        TrackSettings(
            map=town.root / "sparse", map_labels=labels, query_labels=labels, queries=town.lists("queries"),
            odometry=town.lists("odometry"), priors=town.lists("priors"), start=start, data=data.root,
            data_labels=data.labels("labels"), out=files["pfsl"], start_metres=max(metres, 0.3),
            start_degrees=max(degrees, 1.0),
        )
    )  # fmt: skip
    drives, starts = [read_odometry(path) for path in town.lists("odometry")], read_results(start).camera_from_world
    moved = Pose.concatenate(drive.moved(starts[row]) for row, drive in enumerate(drives))
    write_results(files["odometry"], [name for drive in drives for name in drive.names], moved)
    return {name: town.hits(file) for name, file in files.items()}


def main() -> None:
    parser = town_parser(__doc__)
    parser.add_argument("--data-seed", type=int, required=True, help="of the town in which confusions are counted")
    options = parser.parse_args()
    data = make_town(options, options.data_seed)
    prepare(PrepareSettings(dataset=data.root))
    towns = [make_town(options, seed) for seed in options.seeds]
    found: dict[str, dict[str, list[float]]] = {}
    for metres, degrees in STARTS:
        rows = [tracked(town, data, metres, degrees) for town in towns]
        for name in rows[0]:
            recall = 100 * np.concatenate([row[name] for row in rows]).mean(axis=(0, 1))
            found.setdefault(f"start off by {metres:g} m, {degrees:g} degrees", {})[name] = recall.round(1).tolist()
            print(f"start off by {metres:g} m, {degrees:g} degrees: {name} {' / '.join(f'{v:.0f}' for v in recall)}")
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
