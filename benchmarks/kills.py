"""Kill and resume trainings; the result must equal, bit for bit, that of an uninterrupted one.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--steps 30] [--only train|pretrain]

A tiny network is trained in a child process that gets SIGKILL at random and at chosen moments: in a step, a clustering
or a validation, with a file half written, before it is flushed, before and after it is renamed. After every kill, each
file of the run must be readable. Exits with 1 if one is not, or if the result differs.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fgsn.config import PrepareSettings, PretrainSettings, TrainSettings
from fgsn.data.correspondences import write_correspondences
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError
from fgsn.files import PART, read_json, read_yaml
from fgsn.inference.model import Model
from fgsn.models.model_file import read_model_file
from fgsn.models.normalisation import SIGNED
from fgsn.models.pspnet import Architecture, PSPNet

sys.modules["torch.utils.tensorboard.writer"] = None  # type: ignore[assignment]  # its event files are not compared
MOMENTS = {
    "train": ("random", "train_step", "Codebook.fit", "measure", "half", "fsync", "rename", "renamed"),
    "pretrain": ("random", "_losses", "confusion_of", "half", "fsync", "rename", "renamed"),
}


def make_data(root: Path) -> None:
    """Write four places in two seasons with correspondences, four labelled images, and an initial network."""
    rng = np.random.default_rng(0)

    def image(name: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(root / name)

    (root / "set" / "correspondence_data").mkdir(parents=True)
    for place in range(4):
        image(f"set/images/summer/{place}.png")
        image(f"set/images/snow/{place}.png")
        points = rng.uniform((0, 0), (60, 44), (40, 2))
        file, names = root / f"set/correspondence_data/{place}.mat", (f"summer/{place}.png", f"snow/{place}.png")
        write_correspondences(file, *names, points, points, np.ones(40))
        image(f"camvid/images/{place}.png")
        (root / "camvid/labels").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 11, (48, 64), np.uint8)).save(root / f"camvid/labels/{place}.png")
    prepare(PrepareSettings(dataset=root / "set", validation_share=0.25))
    lines = [f"images/{place}.png labels/{place}.png\n" for place in range(4)]
    (root / "camvid/train.txt").write_text("".join(lines[:3]))
    (root / "camvid/val.txt").write_text(lines[3])
    torch.manual_seed(0)
    network = PSPNet(Architecture("tiny", 3, feature_dim=16, aux_dim=8)).eval()
    Model(network, SIGNED, 0, 65, classes=("a", "b", "c")).save(root / "start.safetensors")


def settings_of(command: str, steps: int, root: Path, out: Path) -> Any:
    shared = {"iterations": steps, "crop": 65, "short_side": 0, "validate_every": 5, "save_every": 2, "device": "cpu"}
    shared |= {"out": out, "resume": (out / "config.yaml").exists()}
    if command == "pretrain":
        data = (f"camvid:{root / 'camvid'}",)
        return PretrainSettings(data=data, corr_data=(root / "set",), backbone="tiny", batch=2, corr_batch=1, **shared)
    few = {"clusters": 4, "batch": 1, "features_per_image": 24, "pca_dim": 8, "recluster_every": 7, "lr": 0.002}
    return TrainSettings(data=(root / "set",), init=root / "start.safetensors", **few, **shared)


def run(command: str, steps: int, root: Path, out: Path, moment: str = "", call: int = 0) -> int:
    """Train in a child process, killed at that call of `moment`; returns its exit code."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        if moment == "random":
            time.sleep(call / 1000)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
        module = importlib.import_module(f"fgsn.training.{command}")
        kill_at(module, moment, call)
        getattr(module, command)(settings_of(command, steps, root, out))
        status = 0
    except BaseException as error:
        print(f"    {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def kill_at(module: Any, moment: str, call: int) -> None:
    """Patch a function to kill this process at its `call`-th call."""
    left = call

    def killing(real: Callable[..., Any], last: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """The function; the last call runs `last` instead, if given, and kills the process."""

        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return real(*arguments, **named)
            if last:
                last(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return called

    def halve(unfinished: Path, _: int) -> None:
        os.truncate(unfinished, unfinished.stat().st_size // 2)

    if moment == "half":
        Path.chmod = killing(Path.chmod, halve)  # called on unfinished files, before they are renamed
    elif moment == "fsync":
        os.fsync = killing(os.fsync)
    elif moment in ("rename", "renamed"):
        Path.replace = killing(Path.replace, Path.replace if moment == "renamed" else None)
    elif moment == "Codebook.fit":
        clusters = importlib.import_module("fgsn.training.clusters")
        clusters.Codebook.fit = killing(clusters.Codebook.fit)
    elif moment not in ("", "random"):
        setattr(module, moment, killing(getattr(module, moment)))


def unreadable(folder: Path) -> list[str]:
    """Problems of the files of a run; unfinished files of atomic writes are skipped."""
    problems = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.name.endswith(PART):
                continue
            if path.suffix == ".safetensors":
                read_model_file(path)
            elif path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".yaml":
                read_yaml(path)
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
        except (FgsnError, ValueError) as error:
            problems.append(f"{path.relative_to(folder)}: {error}")
    return problems


def outputs(folder: Path) -> dict[str, bytes]:
    """Contents of the files of a finished run, except those that contain its folder or the time."""
    files = [*folder.rglob("*.safetensors"), *folder.rglob("*.jsonl"), *folder.rglob(f".*{PART}")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def kill_often(command: str, steps: int, root: Path, kills: int, rng: random.Random) -> int:
    """Kill and resume until `kills` kills have happened; returns the number of problems."""
    began = time.monotonic()
    if run(command, steps, root, root / command / "whole"):
        return 1
    spent, expected = time.monotonic() - began, outputs(root / command / "whole")
    done, wrong, finished, killed = 0, 0, 0, []
    moments = list(MOMENTS[command])
    while done < kills or killed:
        folder = root / command / str(finished)
        if len(killed) % len(moments) == 0:
            rng.shuffle(moments)
        moment = moments[len(killed) % len(moments)] if done < kills else ""
        call = rng.randrange(int(1000 * spent)) if moment == "random" else rng.randrange(1, 7)
        status = run(command, steps, root, folder, moment, call)
        if status not in (0, -signal.SIGKILL):
            return wrong + 1
        problems = unreadable(folder)
        wrong += len(problems)
        for problem in problems:
            print(f"    {command}, killed at {moment} {call}: {problem}", flush=True)
        if status:
            done += 1
            killed.append(moment)
            continue
        found = outputs(folder)
        differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        wrong += len(differing)
        outcome = f"other bits in {', '.join(differing)}" if differing else f"the same bits in {len(found)} files"
        print(f"{command}: {len(killed)} kills ({', '.join(killed) or 'none'}), then {outcome}", flush=True)
        finished, killed = finished + 1, []
    print(f"{command}: {done} kills, {finished} runs, {wrong} unreadable or different files", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30, help="training steps")
    parser.add_argument("--only", choices=MOMENTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp())
    try:
        make_data(root)
        commands = [given.only] if given.only else list(MOMENTS)
        wrong = sum(
            kill_often(command, given.steps, root, given.kills, random.Random(given.seed)) for command in commands
        )
    finally:
        shutil.rmtree(root)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
