"""The run folder: settings, log, checkpoints; all that is needed to go on after a kill with the same bits."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fgsn import ranks
from fgsn.config import Settings
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, read_yaml, write_yaml
from fgsn.inference.model import Model
from fgsn.models.model_file import read_model_file, write_model_file
from fgsn.progress import say

Item = TypeVar("Item")
LOG_EVERY = 20
"""Steps between rows of losses in metrics.jsonl."""
MOST_SKIPPED = 3
"""Batches of a run whose losses may be no numbers; they are skipped."""
MAY_DIFFER = {"resume", "device", "out", "workers", "compile"}
"""Settings that a resumed run may change."""


class Run:
    """A run folder being written, by the first of several ranks; the others read what they need."""

    def __init__(self, folder: Path, settings: Settings, resume: bool) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoints" / "last.safetensors"
        self._log = folder / "metrics.jsonl"
        self._board = None
        self._skipped = 0
        self._told: set[str] = set()
        self._claim = FolderLock(folder) if ranks.rank() == 0 else None
        if self._claim and not self._claim.lock_exclusively():
            raise FgsnError(f"another fgsn is training in {folder}: wait for it, or choose another --out")
        if resume:
            self._check_same(settings)
        elif self.checkpoint.exists() or self._log.exists():
            raise FgsnError(f"{folder} holds a run already: add --resume to go on with it, or choose another --out")
        if ranks.rank() == 0:
            write_yaml(folder / "config.yaml", settings.as_dict())
        ranks.gathered(None)  # from here on the folder is the first one's, which has written its settings

    def _check_same(self, settings: Settings) -> None:
        if not (self.folder / "config.yaml").exists():
            raise FgsnError(f"{self.folder} holds no run to resume: leave --resume out to start one")
        before, now = read_yaml(self.folder / "config.yaml"), settings.as_dict()
        changed = [key for key in now if key not in MAY_DIFFER and before.get(key) != now[key]]
        if changed:
            pairs = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
            raise FgsnError(f"cannot resume {self.folder} with other settings ({pairs}); choose another --out")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl, and to TensorBoard's events where that is installed."""
        if ranks.rank() > 0:
            return
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise FgsnError(f"cannot write {self._log}: {error.strerror or error}") from error
        board = self._tensorboard()
        for name, value in _flat(row):
            if board is not None and name != "step":
                board.add_scalar(name, value, row["step"])

    def skip(self, step: int, losses: Mapping[str, Tensor], files: Sequence[Path]) -> None:
        """Record a batch that was not learnt from, since its losses or their gradient are not finite.

        Raises:
            FgsnError: it is one too many.
        """
        self._skipped += 1
        named = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
        self.log({"step": step, "skipped": {"losses": named, "files": [str(file) for file in files]}})
        what = (
            f"step {step}: the losses or their gradient are not finite ({named}) on {', '.join(f.name for f in files)}"
        )
        if self._skipped > MOST_SKIPPED:
            kept = "the last checkpoint is as it was" if self.checkpoint.exists() else "there was no checkpoint yet"
            raise FgsnError(f"{what}; that is batch {self._skipped} of this kind, {kept}: take a smaller --lr")
        if ranks.rank() == 0:
            say(f"{what}; skipped")

    def bad_images(self, step: int, problems: Sequence[str]) -> None:
        """Record files that could not be read, and in whose place others were taken; each is told once."""
        if problems:
            self.log({"step": step, "bad_images": list(problems)})
        for problem in problems:
            if problem not in self._told and ranks.rank() == 0:
                say(f"{problem}; another was taken in its place")
        self._told.update(problems)

    def save_checkpoint(
        self, step: int, network: nn.Module, optimiser: torch.optim.Optimizer, extra: Mapping[str, Any]
    ) -> None:
        """Write the state after `step` steps; `extra` is plain data that goes along.

        Raises:
            FgsnError: a weight is not finite, or the disk is full; the checkpoint of before stays.
        """
        if ranks.rank() > 0:
            return
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        for name, parameter in network.named_parameters():
            momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        for name, value in tensors.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise FgsnError(f"{name} is no longer finite at step {step}; it was not saved: take a smaller --lr")
        counts = {"step": step, "logged": self._flushed(), "skipped": self._skipped}
        write_model_file(self.checkpoint, tensors, {**counts, **extra})

    def save_model(self, model: Model, name: str) -> None:
        """Write a model into the folder."""
        if ranks.rank() == 0:
            model.save(self.folder / name)

    def load_checkpoint(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Step, tensors and plain data of the last checkpoint, if there is one; later rows of the log are dropped."""
        if not self.checkpoint.exists():
            self._cut_log(0)
            return None
        tensors, extra = read_model_file(self.checkpoint)
        step = int(extra.pop("step"))
        self._skipped = int(extra.pop("skipped", 0))
        self._cut_log(int(extra.pop("logged", sys.maxsize)))
        return step, tensors, extra

    def close(self) -> None:
        """Flush TensorBoard's events."""
        if self._board is not None:
            self._board.close()

    def _flushed(self) -> int:
        """Size of the log, once it is on the disk."""
        if not self._log.exists():
            return 0
        with self._log.open("r+b") as file:
            os.fsync(file.fileno())
        return self._log.stat().st_size

    def _cut_log(self, size: int) -> None:
        """Drop what was logged after the checkpoint; those steps are about to be done again."""
        if self._log.exists() and ranks.rank() == 0:
            with self._log.open("r+b") as file:
                file.truncate(min(size, self._log.stat().st_size))

    def _tensorboard(self) -> Any:
        if self._board is None:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter
            except ImportError:
                return None
            self._board = SummaryWriter(str(self.folder / "tensorboard"))
        return self._board


def loaded(samples: Dataset[Item], workers: int) -> Iterator[Item]:
    """The samples in their order, loaded by `workers` processes beside this one (0: in this one).

    Raises:
        FgsnError: a sample cannot be loaded; in one line, whichever process it was.
    """
    loader = DataLoader(
        _Told(samples),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # torch's own would be drawn from whenever a run starts or goes on
    )
    for item in loader:
        if isinstance(item, FgsnError):
            raise item
        yield item


class _Told(Dataset[Any]):
    """Hands errors over as values: torch would put a traceback in front of a worker's message."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        try:
            return self.samples[index]
        except FgsnError as error:
            return error


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches the whole process group; what to finish and save is for the main process to decide."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the weights and the momentum of a checkpoint back."""
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    for name, parameter in network.named_parameters():
        if f"momentum.{name}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device).clone()


def sgd(network: nn.Module, lr: float, weight_decay: float, relative: Callable[[str], float]) -> torch.optim.SGD:
    """SGD with Nesterov momentum 0.9; biases get twice the rate and no decay, as in the authors' code.

    Args:
        network: what to train.
        lr: rate of parameters for which `relative` is 1.
        weight_decay: decay of everything but biases.
        relative: rate of a parameter, by its name, relative to `lr`.
    """
    groups = []
    for name, parameter in network.named_parameters():
        bias = name.endswith("bias")
        rate = lr * relative(name) * (2.0 if bias else 1.0)
        decay = 0.0 if bias else weight_decay
        groups.append({"params": [parameter], "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


def finite_step(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, clip: float = 0.0) -> bool:
    """One step of the optimiser, unless the loss or its gradient is not finite; tells whether it was made.

    Args:
        network: what is trained.
        optimiser: its optimiser.
        loss: what to make smaller; its gradient is there already.
        clip: longest gradient, longer ones are shortened to it; 0 leaves them.
    """
    length = torch.nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf)
    good = bool(torch.isfinite(loss) & torch.isfinite(length))
    if good:
        optimiser.step()
    return good


def set_rate(optimiser: torch.optim.Optimizer, step: int, iterations: int, power: float) -> float:
    """Set the learning rate of this step, on a polynomial that ends at 0; returns the factor."""
    factor = (1.0 - step / iterations) ** power
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return factor


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request; a second one stops at once.

    Yields a function that tells whether a stop was asked for. On leaving, the request becomes the KeyboardInterrupt
    that it would have been.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt(signal.Signals(number).name)
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt(signal.Signals(asked[0]).name)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + key, float(value)
