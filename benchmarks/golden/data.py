"""The golden data, and how a function becomes a row of the table."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fgsn.models import backbones
from fgsn.models.imported_weights import published_name, published_network
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet, PlainResNet

backbones._BUILDERS["resnet-mini"] = lambda: DilatedResNet((1, 1, 2, 1))
backbones._BUILDERS["resnet-mini-plain"] = lambda: PlainResNet((1, 1, 2, 1), True)


class Golden:
    """The folder of golden data."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rule = runpy.run_path(str(root / "fill_rule.py"))
        """The rule that made all inputs and weights; it comes with the data."""

    def __getitem__(self, name: str) -> Any:
        """Arrays of NAME.npz or facts of NAME.json."""
        path = self.root / name
        return np.load(path) if path.suffix == ".npz" else json.loads(path.read_text())

    def uniform(self, seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        return low + (high - low) * self.rule["u"](seed, int(np.prod(shape))).reshape(shape)

    def tensor(self, seed: int, *shape: int, bound: float) -> torch.Tensor:
        return torch.from_numpy(self.uniform(seed, *shape, low=-bound, high=bound).astype(np.float32))

    def network(self, backbone: str, classes: int) -> PSPNet:
        """The authors' network with weights by the rule, as imported from a checkpoint of theirs."""
        with torch.device("meta"):
            ours = PSPNet(Architecture(backbone, classes)).state_dict()
        shapes = {published_name(name): tuple(value.shape) for name, value in ours.items() if "num_batches" not in name}
        weights = {name: torch.from_numpy(value) for name, value in self.rule["fill_state_dict"](shapes).items()}
        network = published_network(weights, Path("golden"))
        network.dropout.p = 0.0
        network.freeze_norms()
        return network.eval().requires_grad_(False)


class Row(NamedTuple):
    case: str
    what: str
    tolerance: float
    error: Callable[[Golden], float]


ROWS: list[Row] = []


def row(case: str, what: str, tolerance: float, *given: Any) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Make a function a row of the table; `given` is passed to it after the golden data, so it may be several rows."""

    def add(error: Callable[..., float]) -> Callable[..., float]:
        ROWS.append(Row(case, what, tolerance, lambda golden: float(error(golden, *given))))
        return error

    return add


def rows(cases: dict[str, tuple[Any, ...]], case: str, what: str, tolerance: float) -> Callable[..., Any]:
    """One row for each of `cases`: its name → further arguments of the function."""

    def add(error: Callable[..., float]) -> Callable[..., float]:
        for name, given in cases.items():
            row(case, what.format(name), tolerance, *given)(error)
        return error

    return add


def gap(ours: Any, theirs: Any) -> float:
    """Largest difference; infinite where shapes differ."""
    ours, theirs = (np.asarray(values, np.float64) for values in (ours, theirs))
    return np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.inf


def relative(ours: Any, theirs: Any) -> float:
    """Largest difference in proportion to the golden number."""
    return gap(np.asarray(ours, np.float64) / np.asarray(theirs, np.float64), np.ones(np.shape(theirs)))


def differing(ours: Any, theirs: Any) -> float:
    """Share of elements that differ."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.mean(ours != theirs)) if ours.shape == theirs.shape else np.inf
