"""Write matched pairs as a data set in the authors' layout, with metrics of their quality."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fgsn.correspond.views import condition_of
from fgsn.data.correspondences import centre_distance, spread, write_correspondences
from fgsn.data.dataset import MOVED_LIST
from fgsn.data.motion import PointMotion
from fgsn.errors import FgsnError
from fgsn.files import write_text
from fgsn.matching.pair import MatchedPair, PairResult, RefusedPair
from fgsn.tables import as_csv

FEW_POINTS = 50
SMALL_SPREAD = 0.4
FEW_REFERENCES = 0.25
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
LONGEST_STEM = 200
"""Bytes of the name of a correspondence file, of which file systems allow 255."""
PAIRS, REFUSED = "pairs.csv", "refused.csv"


def link_images(images: Path, out: Path, conditions: Sequence[str]) -> None:
    """Link images/<condition> of the data set to the user's folders; FgsnError if something is in the way."""
    for condition in conditions:
        link, folder = out / "images" / condition, (images / condition).resolve()
        if link.is_symlink() and link.resolve() == folder:
            continue
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(folder, link.parent.resolve()), target_is_directory=True)
        except OSError as error:
            raise FgsnError(f"cannot link {link} to {folder}: {error.strerror or error}") from error


class PairWriter:
    """Writes matched pairs one by one, and records all pairs."""

    def __init__(self, out: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Write to `out`; `sizes` is the width and height of every readable image, by name."""
        self.out, self.sizes = out, sizes
        self.rows: list[dict[str, Any]] = []
        self.refused: list[RefusedPair] = []
        self.motion = PointMotion()
        self._stems: set[str] = set()

    def write(self, found: Iterable[PairResult]) -> None:
        """Write every matched pair to its own file, and the lists of matched and refused pairs."""
        for pair in found:
            if isinstance(pair, RefusedPair):
                self.refused.append(pair)
            elif not {pair.reference, pair.target} <= self.sizes.keys():
                self.refused.append(RefusedPair(pair.reference, pair.target, "an image is missing or cannot be read"))
            else:
                self._write(pair)
        columns = ("reference", "target", "points", "error_px", "spread_reference", "spread_target")
        write_text(self.out / PAIRS, as_csv((*columns, "motion_percent", "moved", "file"), self.rows))
        write_text(self.out / REFUSED, as_csv(("reference", "target", "reason"), map(vars, self.refused)))
        moved = sorted(row["file"] for row in self.rows if row["moved"])
        if moved:
            write_text(self.out / MOVED_LIST, "".join(f"{file}\n" for file in moved))

    def _write(self, pair: MatchedPair) -> None:
        sizes = [self.sizes[name] for name in (pair.reference, pair.target)]
        condition = condition_of(pair.target)
        stems = ("-".join(PurePosixPath(name).with_suffix("").parts[1:]) for name in (pair.reference, pair.target))
        file = self._file_name(f"correspondence_{condition}_{'_'.join(stems)}", pair)
        write_correspondences(
            self.out / "correspondence_data" / file,
            pair.reference,
            pair.target,
            pair.points_ref,
            pair.points_tgt,
            centre_distance(pair.points_ref, sizes[0]),
        )
        known = pair.errors[np.isfinite(pair.errors)]
        self.rows.append(
            {
                "file": file,
                "condition": condition,
                "reference": pair.reference,
                "target": pair.target,
                "points": len(pair.points_ref),
                "error_px": round(float(np.median(known)), 2) if len(known) else "",
                "spread_reference": spread(pair.points_ref, sizes[0]),
                "spread_target": spread(pair.points_tgt, sizes[1]),
                "motion_percent": round(self.motion.add(pair.points_ref, pair.points_tgt, (sizes[0], sizes[1])), 1),
                "moved": "yes" if pair.moved else "",
            }
        )

    def _file_name(self, stem: str, pair: MatchedPair) -> str:
        """The name of the pair's file; two pairs whose names differ only in `/`, `-` or endings get different files."""
        if stem in self._stems or len(stem.encode()) > LONGEST_STEM:
            mark = hashlib.sha256(f"{pair.reference}\n{pair.target}".encode()).hexdigest()[:12]
            stem = f"{stem.encode()[:LONGEST_STEM].decode(errors='ignore')}-{mark}"
        self._stems.add(stem)
        return f"{stem}.mat"

    def refusals(self) -> dict[str, int]:
        """Number of refused pairs by reason, most frequent first; reasons that differ in numbers count as one."""
        alike: dict[str, list[list[str]]] = defaultdict(list)
        for pair in self.refused:
            alike[_NUMBER.sub("{}", re.sub("[{}]", "", pair.reason))].append(_NUMBER.findall(pair.reason))
        ranked = sorted(alike.items(), key=lambda item: -len(item[1]))
        return {reason.format(*map(_range, zip(*rows, strict=True))): len(rows) for reason, rows in ranked}

    def results(self, references: int) -> dict[str, Any]:
        """Counts, how far points move, metrics of the same-place pairs per condition, and warnings under `doubts`.

        `references` is the number of images of the reference condition.
        """
        by_condition: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            if not row["moved"]:
                by_condition[row["condition"]].append(row)
        conditions = {name: _metrics(rows) for name, rows in sorted(by_condition.items())}
        doubts = [doubt for name, metrics in conditions.items() for doubt in _doubts(name, metrics, references)]
        entered = {condition_of(pair.target) for pair in self.refused if not pair.moved}
        entered |= {condition_of(name) for name in self.sizes} - {condition_of(row["reference"]) for row in self.rows}
        doubts += [f"{name}: no pair is reliable" for name in sorted(entered - by_condition.keys())]
        return {
            "pairs": len(self.rows),
            "points": sum(row["points"] for row in self.rows),
            **self.motion.metrics(),
            "refused_pairs": len(self.refused),
            "refused": self.refusals(),
            "by_condition": conditions,
            "doubts": doubts,
        }


def _range(numbers: Sequence[str]) -> str:
    """The smallest and the largest of some numbers."""
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if low == high else f"{low} to {high}"


def _metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    errors = [row["error_px"] for row in rows if row["error_px"] != ""]
    return {
        "pairs": len(rows),
        "reference_images": len({row["reference"] for row in rows}),
        "points": sum(row["points"] for row in rows),
        "points_per_pair": int(np.median([row["points"] for row in rows])),
        "error_px": round(float(np.median(errors)), 2) if errors else None,
        "spread": round(float(np.mean([min(row["spread_reference"], row["spread_target"]) for row in rows])), 2),
    }


def _doubts(name: str, metrics: dict[str, Any], references: int) -> list[str]:
    found = []
    if metrics["points_per_pair"] < FEW_POINTS:
        found.append(f"{name}: sparse, half of its pairs have at most {metrics['points_per_pair']} points")
    if metrics["spread"] < SMALL_SPREAD:
        found.append(f"{name}: one-sided, points cover {metrics['spread']:.0%} of the image on average")
    if metrics["reference_images"] < FEW_REFERENCES * references:
        found.append(f"{name}: only {metrics['reference_images']} of {references} reference images have a partner")
    return found
