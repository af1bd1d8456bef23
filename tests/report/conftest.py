"""A run on the street of `street.py`: images, label maps, a model, training curves, and poses by two methods."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fgsn.bench.street import CAMERA
from fgsn.clustering.codebook import Codebook
from fgsn.config import LocalizeSettings
from fgsn.data.correspondences import write_correspondences
from fgsn.files import write_text, write_yaml
from fgsn.formats.poses import write_poses
from fgsn.formats.queries import write_queries
from fgsn.localization.localize import localize
from street_files import batch, looking, write_hloc, write_street

LABELS, QUERIES = 30, 5


def write_metrics(path: Path) -> Path:
    rows = [{"step": 0, "clustering": {"objective": 1.5}}, {"step": 250, "clustering": {"objective": 1.0}}]
    rows += [{"step": n, "loss": 3 / (n + 1), "loss_class": 1.0, "loss_corr": 2 / (n + 1)} for n in range(500)]
    rows += [{"step": n, "validation": {"kappa_position_controlled": n / 1000, "kappa": 0.4}} for n in (0, 250, 500)]
    rows += [{"step": 501, "loss": float("nan")}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 502, "lo')
    return path


@pytest.fixture(scope="session")
def street_run(tmp_path_factory, make_model, make_image) -> Path:
    """A folder with run/ (and run/localization), data/ and labels/."""
    root = tmp_path_factory.mktemp("report")
    poses = [looking(4.0 * n + 1.0, 0.8, 4.0 - 2 * n) for n in range(QUERIES)]
    asked = [f"snow/c0/{n:03d}.jpg" for n in range(QUERIES)]
    queries = dict(zip(asked, poses, strict=True))
    names, seen, tracks = write_street(root, LABELS, QUERIES, queries)
    write_hloc(root / "hloc", queries, names, seen, tracks, wrong=0.6)
    data = root / "data"
    for seed, name in enumerate([*names, *asked]):
        make_image(data / "images" / name, 320, 240, seed)
    for (name, pose), reference, (rows, _, at) in zip(queries.items(), names, tracks, strict=True):
        there, pixels = seen(pose)
        both = np.isin(rows, there)
        file = data / "correspondence_data" / f"{name[:4]}_{name[-7:-4]}.mat"
        write_correspondences(file, reference, name, at[both], pixels[rows[both]], np.zeros(both.sum()))
    write_text(data / "corr_val.txt", "".join(f"snow_{n:03d}.mat\n" for n in range(QUERIES)))
    write_text(data / "corr_train.txt", "")
    write_queries(data / "queries/snow.txt", asked, [CAMERA] * QUERIES)
    write_poses(data / "truth/snow.txt", asked, batch(poses))

    run = root / "run"
    write_metrics(run / "metrics.jsonl")
    write_yaml(run / "config.yaml", {"data": [str(data)], "clusters": LABELS})
    features = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    codebook = Codebook.fit(features, LABELS, iterations=2)
    replace(make_model(LABELS, names=False), codebook=codebook).save(run / "model.safetensors")
    for name, method in {"p3p": "p3p", "ssmc_fgsn": "ssmc"}.items():
        localize(
            LocalizeSettings(
                map=root / "map", queries=(data / "queries/snow.txt",), out=run / f"localization/{name}.txt",
                method=method, map_labels=root / "labels", query_labels=root / "labels", hloc=root / "hloc",
                label_window=0,
            )
        )  # fmt: skip
    return root
