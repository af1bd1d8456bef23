"""How much longer commands take beside other processes: with 0, 1 and 3 neighbours that spin, taking turns.

    python benchmarks/busy.py [--out FOLDER] [--rounds 3] [--neighbours 0 1 3] [--only train segment ...]

Each command is a process of its own, timed from its start to its end; medians over the rounds, and their ratios to the
time without neighbours. Fair shares of two cores are 2 x beside one neighbour if both cores are used, 4 x beside three.
Set no OMP variable, since it would decide instead of fgsn; and run nothing else on the machine.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgsn.files import write_json
from fgsn.progress import say
from fgsn.threads import chosen_by_user

SUBJECTS = ("gsmc", "pfsl", "clustering", "assignment")
FGSN = (sys.executable, "-c", "from fgsn.cli import main; main()")


def commands(folder: Path) -> dict[str, list[str]]:
    """Arguments of fgsn by name; `{out}` is a new folder each time, and the others work on a small world."""
    world = str(folder / "world")
    return {
        "demo": ["demo", "--quick", "--out", "{out}"],
        "segment": ["segment", "--model", "world:labels", "--images", f"{world}/images", "--out", "{out}"],
        "train": [
            "train", "--data", world, "--init", "world:labels", "--out", "{out}", "--iterations", "40", "--rounds", "1",
            "--clusters", "50", "--crop", "161", "--validate-every", "40",
        ],
        **{name: ["bench", "--subjects", name, "--rounds", "2"] for name in SUBJECTS},
    }  # fmt: skip


def fgsn(arguments: list[str]) -> float:
    """Run a command; returns its seconds."""
    began = time.perf_counter()
    subprocess.run([*FGSN, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that spin while the body runs."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("busy"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--places", type=int, default=10)
    options = parser.parse_args()
    if chosen_by_user():
        say("an OMP variable is set: this measures it, not what fgsn chooses")
    world, trial = options.out / "world", options.out / "trial"
    if not (world / "corr_train.txt").exists():
        fgsn(["world", "--out", str(world), "--places", str(options.places), "--size", "256", "192"])
        fgsn(["prepare", str(world)])
    wanted = {name: args for name, args in commands(options.out).items() if name in (options.only or [name])}
    seconds: dict[str, dict[int, list[float]]] = {name: {n: [] for n in options.neighbours} for name in wanted}
    for turn in range(options.rounds):
        for count in options.neighbours:
            for name, arguments in wanted.items():
                with neighbours(count):
                    shutil.rmtree(trial, ignore_errors=True)
                    seconds[name][count].append(fgsn([one.format(out=trial) for one in arguments]))
                say(f"round {turn + 1}, {count} neighbours, {name}: {seconds[name][count][-1]:.1f} s")
    table = {
        name: {
            f"{count} neighbours": {
                "seconds": round(statistics.median(times), 2),
                "ratio": round(statistics.median(times) / statistics.median(of[options.neighbours[0]]), 2),
            }
            for count, times in of.items()
        }
        for name, of in seconds.items()
    }
    write_json(options.out / "busy.json", {"cores": os.cpu_count(), "rounds": options.rounds, "commands": table})
    for name, row in table.items():
        print(f"{name:<12}" + "".join(f"{one['seconds']:>9.2f} s {one['ratio']:>5.2f} x" for one in row.values()))


if __name__ == "__main__":
    main()
