"""Accuracy of correspondences from images, compared with correspondences that come with a data set.

    fgsn correspond --images DATA/images --reference CONDITION --out FOUND ...
    python benchmarks/correspond_images.py FOUND DATA

If a found point has given correspondences around it (within 60 pixels in the reference), these are interpolated by a
robust local affine fit, and the two target points are compared. Pairs may be in either direction.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset

NEAR, NEIGHBOURS, FEWEST = 60.0, 8, 4


def compared(found: Correspondences, given: Correspondences) -> np.ndarray:
    """Distance (N,) in pixels between found and interpolated targets; NaN if no given points are near."""
    apart, rows = KDTree(given.points_ref).query(found.points_ref, k=NEIGHBOURS, distance_upper_bound=NEAR)
    off = np.full(len(found.points_ref), np.nan)
    for n, (distance, row) in enumerate(zip(apart, rows, strict=True)):
        near = row[np.isfinite(distance)]
        if len(near) < FEWEST:
            continue
        design = np.column_stack([given.points_ref[near] - found.points_ref[n], np.ones(len(near))])
        weight = np.ones(len(near))
        fit = np.zeros((3, 2))
        for _ in range(4):
            # A small ridge on the slopes: with few neighbours, only the displacement of the centre is reliable.
            normal = design.T @ (design * weight[:, None]) + np.diag([100.0, 100.0, 0.0])
            moves = given.points_tgt[near] - given.points_ref[near]
            fit = np.linalg.solve(normal, design.T @ (moves * weight[:, None]))
            miss = np.linalg.norm(moves - design @ fit, axis=1)
            weight = 1 / (1 + (miss / 4.0) ** 2)
        off[n] = np.linalg.norm(found.points_ref[n] + fit[2] - found.points_tgt[n])
    return off


def names(data: Dataset, pair: Correspondences) -> tuple[str, str]:
    return data.name(pair.reference), data.name(pair.target)


def turned(pair: Correspondences) -> Correspondences:
    return Correspondences(pair.target, pair.reference, pair.points_tgt, pair.points_ref, pair.weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path)
    parser.add_argument("given", type=Path)
    options = parser.parse_args()
    found_set, given_set = Dataset.open(options.found), Dataset.open(options.given)
    given = {}
    for path in given_set.correspondence_files():
        pair = read_correspondences(path)
        given[names(given_set, pair)] = pair
        given.setdefault(names(given_set, pair)[::-1], turned(pair))
    every, shared, total, points_given = [], 0, 0, sum(len(pair.weights) for pair in given.values()) // 2
    for path in found_set.correspondence_files():
        pair = read_correspondences(path)
        total += len(pair.weights)
        key = names(found_set, pair)
        if key not in given:
            continue
        shared += 1
        off = compared(pair, given[key])
        every.append(off)
        known = off[np.isfinite(off)]
        if len(known):
            print(f"{key[0]} {key[1]}: {len(off)} points, {len(known)} compared, median {np.median(known):.1f} px, "
                  f"within 10 px {np.mean(known < 10):.3f}")  # fmt: skip
        else:
            print(f"{key[0]} {key[1]}: {len(off)} points, none compared")
    off = np.concatenate(every) if every else np.empty(0)
    known = off[np.isfinite(off)]
    print(f"\nfound {total} points in {len(found_set.correspondence_files())} pairs; given {points_given} in "
          f"{len(given_set.correspondence_files())}; {shared} pairs shared")  # fmt: skip
    if len(known):
        share = {limit: float(np.mean(known < limit)) for limit in (3, 5, 10)}
        print(f"compared {len(known)} of {len(off)}: median {np.median(known):.2f} px, within 3 / 5 / 10 px "
              + " / ".join(f"{value:.3f}" for value in share.values()))  # fmt: skip


if __name__ == "__main__":
    main()
