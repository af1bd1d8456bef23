"""A job that one process does alone, or several do together when torchrun's variables tell them to."""

import os
import signal
from pathlib import Path

import numpy as np
import torch

from fgsn import Codebook, ranks
from fgsn.clustering.kmeans import kmeans
from fgsn.config import SegmentSettings, TrainSettings
from fgsn.inference.segment import segment
from fgsn.training import train as training

SHORT = {
    "clusters": 4, "iterations": 5, "recluster_every": 3, "batch": 4, "crop": 65, "features_per_image": 24,
    "pca_dim": 8, "lr": 0.002, "validate_every": 3, "device": "cpu", "colour_jitter": 0.5,
    "scales": (1.0,),
}  # fmt: skip
TRAININGS = {
    "step": {"gradient": "coin", "iterations": 1, "clip": 0},
    "parts": {"feature_weight": 0.5, "accumulate": 2, "iterations": 1, "clip": 0},
    "coin": {"gradient": "coin"},
}
"""Trainings that differ from SHORT; momentum after a single step is its gradient."""


def work(folder: Path, data: Path, start: Path) -> None:
    """Cluster, train, train with an interruption, and segment; everything goes into `folder`."""
    clusters(folder)
    for name, changes in TRAININGS.items():
        training.train(TrainSettings(data=(data,), init=start, out=folder / name, **(SHORT | changes)))
    interrupted(TrainSettings(data=(data,), init=start, out=folder / "resumed", **(SHORT | TRAININGS["coin"])))
    segment(SegmentSettings(model=folder / "coin", images=data / "images", out=folder / "labels", device="cpu"))


def clusters(folder: Path) -> None:
    random = np.random.default_rng(0)
    # Some samples far away, so that clusters fall empty and move.
    samples = np.concatenate([random.normal(size=(9000, 12)), 50 + random.normal(size=(3, 12))]).astype(np.float32)
    found = kmeans(torch.from_numpy(samples), 40, 6, torch.Generator().manual_seed(0))
    codebook = Codebook.fit(samples, 30, seed=1, iterations=4)
    if ranks.rank() == 0:
        arrays = {"centroids": found.centroids, "counts": found.counts, "codebook": codebook.centroids}
        np.savez(folder / "clusters.npz", objective=found.objective, **{k: v.numpy() for k, v in arrays.items()})


def interrupted(settings: TrainSettings) -> None:
    """The last process alone is asked to stop in the fourth step; then the training goes on."""
    step, steps = training.train_step, []

    def counted(*arguments):
        steps.append(1)
        if len(steps) == 4 and ranks.rank() == ranks.world() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    training.train_step = counted
    try:
        training.train(settings)
    except KeyboardInterrupt:
        assert len(steps) == 4
    finally:
        training.train_step = step
    training.train(TrainSettings(**{**vars(settings), "resume": True}))


def work_as(rank: int, port: int, folder: Path, data: Path, start: Path) -> None:
    """Do the work as one of two processes that torchrun has started."""
    found = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in found.items()})
    torch.set_num_threads(1)
    with ranks.joined("cpu"):
        work(folder, data, start)
