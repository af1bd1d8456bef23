"""The run folder: settings, log and checkpoints; a killed run resumes bit-identically from it."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fgsn import ranks
from fgsn.config import PretrainSettings, Settings, TrainSettings
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, read_yaml, write_yaml
from fgsn.inference.model import Model
from fgsn.inference.segmenter import computes_bfloat16
from fgsn.models.model_file import read_model_file, write_model_file
from fgsn.progress import say
from fgsn.threads import restore_threads

Item = TypeVar("Item")
Training = TypeVar("Training", PretrainSettings, TrainSettings)
MOST_WORKERS = 6
"""Processes that keep a GPU supplied with images: more of them would idle."""
LOG_EVERY = 20
"""Steps between rows of losses in metrics.jsonl."""
MOST_SKIPPED = 3
"""Batches with non-finite losses that a run may skip."""
MAY_DIFFER = {"resume", "device", "out", "workers", "compile", "deterministic"}
"""Settings that may differ when a run resumes."""
_SWITCHED_ON: list[bool] = []  # not empty while deterministic operations are our choice, not that of the program


class Run:
    """A run folder; the first rank writes it, other ranks only read."""

    def __init__(self, folder: Path, settings: Settings, resume: bool) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoints" / "last.safetensors"
        self._log = folder / "metrics.jsonl"
        self._board = None
        self._skipped = 0
        self._reported: set[str] = set()
        self._lock = FolderLock(folder) if ranks.rank() == 0 else None
        if self._lock:
            self._lock.require()
        if resume:
            self._check_same(settings)
        elif self.checkpoint.exists() or self._log.exists():
            raise FgsnError(f"{folder} already contains a run: add --resume to continue it, or choose another --out")
        if ranks.rank() == 0:
            write_yaml(folder / "config.yaml", settings.as_dict())
        ranks.gathered(None)  # barrier: the first rank has locked the folder and written the settings

    def _check_same(self, settings: Settings) -> None:
        if not (self.folder / "config.yaml").exists():
            raise FgsnError(f"{self.folder} contains no run to resume: omit --resume to start one")
        before, now = read_yaml(self.folder / "config.yaml"), settings.as_dict()
        if changed := changed_settings(before, now):
            pairs = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
            raise FgsnError(f"cannot resume {self.folder} with other settings ({pairs}); choose another --out")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl, and to TensorBoard events if TensorBoard is installed."""
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
        """Record a batch whose losses or gradients are not finite, and was skipped; FgsnError if too many were."""
        self._skipped += 1
        named = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
        self.log({"step": step, "skipped": {"losses": named, "files": [str(file) for file in files]}})
        what = (
            f"step {step}: the losses or their gradient are not finite ({named}) on {', '.join(f.name for f in files)}"
        )
        if self._skipped > MOST_SKIPPED:
            kept = "the last checkpoint is intact" if self.checkpoint.exists() else "there was no checkpoint yet"
            raise FgsnError(f"{what}; this is skipped batch {self._skipped}, {kept}: choose a smaller --lr")
        if ranks.rank() == 0:
            say(f"{what}; skipped")

    def bad_images(self, step: int, problems: Sequence[str]) -> None:
        """Record unreadable files that were replaced by others; each is reported once."""
        if problems:
            self.log({"step": step, "bad_images": list(problems)})
        for problem in problems:
            if problem not in self._reported and ranks.rank() == 0:
                say(f"{problem}; used another one instead")
        self._reported.update(problems)

    def save_checkpoint(
        self, step: int, network: nn.Module, optimiser: torch.optim.Optimizer, extra: Mapping[str, Any]
    ) -> None:
        """Write the state after `step` steps, with the plain data `extra`.

        Raises FgsnError if a weight is not finite or the disk is full; the previous checkpoint stays.
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
                raise FgsnError(f"{name} is not finite at step {step}; checkpoint not written: choose a smaller --lr")
        counts = {"step": step, "logged": self._flushed(), "skipped": self._skipped, "threads": torch.get_num_threads()}
        write_model_file(self.checkpoint, tensors, {**counts, **extra})

    def save_model(self, model: Model, name: str) -> None:
        """Write a model into the folder."""
        if ranks.rank() == 0:
            model.save(self.folder / name)

    def save_tensors(self, tensors: Mapping[str, Tensor], name: str) -> None:
        """Write tensors into the folder."""
        if ranks.rank() == 0:
            write_model_file(self.folder / name, dict(tensors), {})

    def resume(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, iterations: int, kinds: Mapping[str, type]
    ) -> tuple[int, list[Any]] | None:
        """Continue from the last checkpoint, if any: weights, momentum, log; later rows of the log are dropped.

        Args:
            kinds: names and types of the plain data that the checkpoint must contain.

        Returns:
            The step, and the plain data in the order of `kinds`.

        Raises:
            FgsnError: the checkpoint is damaged, or belongs to another run.
        """
        if not self.checkpoint.exists():
            self._cut_log(0)
            return None
        tensors, stored = read_model_file(self.checkpoint)
        stored = {"skipped": 0, "logged": sys.maxsize, "threads": 0, **stored}
        try:
            kinds = {"step": int, "skipped": int, "logged": int, "threads": int, **kinds}
            wrong = [name for name, kind in kinds.items() if type(stored.get(name)) is not kind]
            if wrong:
                raise ValueError(f"it has no valid {', '.join(wrong)}")
            if not 0 <= stored["step"] <= iterations:
                raise ValueError(f"it is at step {stored['step']} of {iterations}")
            restore(network, optimiser, tensors)
        except (ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise FgsnError(f"{self.checkpoint} is not a checkpoint of this run: {why}; choose another --out") from None
        self._skipped = stored["skipped"]
        restore_threads(stored["threads"])
        self._cut_log(stored["logged"])
        return stored["step"], [stored[name] for name in list(kinds)[4:]]

    def require_steps(self, steps: int) -> None:
        """Refuse to finish a run that has learnt nothing: FgsnError if every step was skipped."""
        if self._skipped >= steps:
            raise FgsnError(f"all {steps} steps were skipped, since their losses are not finite: choose a smaller --lr")

    def close(self) -> None:
        """Flush TensorBoard's events."""
        if self._board is not None:
            self._board.close()

    def _flushed(self) -> int:
        """Size of the log after an fsync."""
        if not self._log.exists():
            return 0
        with self._log.open("r+b") as file:
            os.fsync(file.fileno())
        return self._log.stat().st_size

    def _cut_log(self, size: int) -> None:
        """Drop log rows written after the checkpoint, since those steps run again."""
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


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the settings with which a run cannot go on; auto is whatever it was."""
    return [key for key in now if key not in MAY_DIFFER and now[key] not in ("auto", before.get(key))]


def settled(settings: Training, device: torch.device) -> Training:
    """The settings with a precision in place of auto: that of the run to resume, otherwise one that fits the device."""
    if settings.precision != "auto":
        return settings
    stored = settings.out / "config.yaml"
    before = read_yaml(stored).get("precision") if settings.resume and stored.exists() else None
    if before in ("float32", "bfloat16"):
        return replace(settings, precision=before)
    # On a CPU, what bfloat16 does to the labels depends on the processor, and has not been measured on many.
    fast = device.type == "cuda" and computes_bfloat16(device)
    return replace(settings, precision="bfloat16" if fast else "float32")


def fitting_workers(workers: int | None, device: torch.device) -> int:
    """Processes that load images (0: this one), by --workers; on a CPU they would take the cores of the training."""
    if workers is not None:
        return workers
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(MOST_WORKERS, max(0, cores - 1)) if device.type == "cuda" else 0


def loaded(samples: Dataset[Item], workers: int | None, device: torch.device) -> Iterator[Item]:
    """Yield the samples in order, loaded by `fitting_workers`; a FgsnError of a worker is raised here."""
    loader = DataLoader(
        _ErrorsAsValues(samples),
        batch_size=None,
        num_workers=fitting_workers(workers, device),
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # keep the loader from drawing from torch's global generator
    )
    for item in loader:
        if isinstance(item, FgsnError):
            raise item
        yield item


class _ErrorsAsValues(Dataset[Any]):
    """Returns errors as values, since torch would prepend a traceback to a worker's message."""

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
    """Ignore signals in workers: Ctrl-C reaches the whole process group, and the main process decides what to save."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore weights and momentum from a checkpoint; raises ValueError or RuntimeError if they do not fit."""
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    if not any(name.startswith("momentum.") for name in tensors):
        return
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            momentum = tensors.get(f"momentum.{name}", torch.zeros_like(parameter))
            if momentum.shape != parameter.shape:
                raise ValueError(f"the momentum of {name} has shape {tuple(momentum.shape)}")
            # In the memory layout of the parameter, which fused updates require; the file has the plain one.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).detach().copy_(momentum)


def sgd(network: nn.Module, lr: float, weight_decay: float, relative: Callable[[str], float]) -> torch.optim.SGD:
    """SGD with Nesterov momentum 0.9; biases get twice the learning rate and no decay, as in the authors' code.

    `relative` gives the learning rate of a parameter, by its name, relative to `lr`.
    """
    # One group per rate and decay: few groups let torch update many tensors at once.
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        bias = name.endswith("bias")
        rate = lr * relative(name) * (2.0 if bias else 1.0)
        found.setdefault((rate, 0.0 if bias else weight_decay), []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in found.items()
    ]
    # On a CPU, fused updates do not check that gradients have the memory layout of their parameters, and save little.
    on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=on_gpu)


def choose_operations(deterministic: bool) -> None:
    """Let cuDNN choose its fastest convolutions by trying, as all crops have one size; or compute deterministically.

    On a CPU, training is deterministic anyway. On a GPU, torch warns of operations that have no deterministic version.
    """
    if deterministic and not torch.are_deterministic_algorithms_enabled():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
        torch.use_deterministic_algorithms(True, warn_only=True)
        _SWITCHED_ON.append(True)
    elif not deterministic and _SWITCHED_ON:  # by an earlier training of this process, such as a sweep's
        torch.use_deterministic_algorithms(False)
        _SWITCHED_ON.clear()
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()


def note_of(losses: Mapping[str, Tensor]) -> Callable[[], str]:
    """The losses for the progress display; they are read, and a GPU is waited for, when it shows them."""
    return lambda: " ".join(f"{name.removeprefix('loss_')} {value.item():.3f}" for name, value in losses.items())


def finite_step(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, clip: float = 0.0) -> bool:
    """Take one optimiser step unless the loss or its gradient is not finite; returns whether it was taken.

    The gradient's norm is clipped to `clip`; 0 does not clip.
    """
    length = torch.nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf)
    finite = bool(torch.isfinite(loss) & torch.isfinite(length))
    if finite:
        optimiser.step()
    return finite


def set_rate(optimiser: torch.optim.Optimizer, step: int, iterations: int, power: float) -> float:
    """Set the learning rate of this step by the polynomial schedule; returns the factor."""
    factor = (1.0 - step / iterations) ** power
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return factor


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + key, float(value)
