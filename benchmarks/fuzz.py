"""Damage files of every format that fgsn reads; each must be read, or refused in one line that names it.

    python benchmarks/fuzz.py [--each 600] [--first 0] [--only "COLMAP binary"]

Prints a row per format. Exits with 1 if a reader crashed, raised another error, or needed more than SECONDS or
MEGABYTES for a file of a few kilobytes. The damage depends on the number only; repeat it with
`--only KIND --first N --each 1`.
"""

import argparse
import faulthandler
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from damage import FORMATS, Trial

SECONDS, MEGABYTES = 10.0, 400
MEMORY = 4 << 30
"""Address space of a process that reads; the libraries alone map about half of it."""
SHOWN = 5
"""Failures printed per format, one of each sort."""


def try_kind(name: str, first: int, each: int, folder: Path, found: Any, at: Any) -> None:
    """Try one format in a child process; `at` is the current number, known to the parent after a crash."""
    warnings.simplefilter("ignore")  # Pillow warns about files that it still reads
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    trial, sorts, failed = Trial(name, folder), Counter[str](), 0
    for seed in range(first, first + each):
        at.value = seed
        faulthandler.dump_traceback_later(6 * SECONDS, exit=True, file=sys.__stderr__)
        began, before = time.process_time(), _megabytes()  # not the time that a busy machine takes
        problem = trial(seed)
        spent, taken = time.process_time() - began, _megabytes() - before
        if not problem and spent > SECONDS:
            problem = f"took {spent:.0f} s"
        if not problem and taken > MEGABYTES:
            problem = f"took {taken:.0f} MB"
        if problem:
            failed += 1
            sorts[problem[:40]] += 1
            if sorts[problem[:40]] == 1 and len(sorts) <= SHOWN:
                print(f"    {name} {seed}: {problem}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    found.put((failed, _megabytes()))


def _megabytes() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=600, help="damaged files per format")
    parser.add_argument("--first", type=int, default=0, help="first number")
    parser.add_argument("--only", choices=list(FORMATS), help="only this format")
    given = parser.parse_args()
    total = bad = 0
    scratch, processes = Path(tempfile.mkdtemp()), multiprocessing.get_context("fork")
    try:
        for name in [given.only] if given.only else FORMATS:
            found, at, began = processes.Queue(), processes.Value("q", -1), time.monotonic()
            arguments = (name, given.first, given.each, scratch / name.replace(" ", "_"), found, at)
            child = processes.Process(target=try_kind, args=arguments)
            child.start()
            child.join()
            if child.exitcode == 0:
                failed, megabytes = found.get()
            else:
                failed, megabytes = 1, float("nan")
                print(f"    {name} {at.value}: the process exited with {child.exitcode}", flush=True)
            total, bad = total + given.each, bad + failed
            seconds = time.monotonic() - began
            print(
                f"{name:<24} {given.each:>7} tried {failed:>5} failed {seconds:>6.0f} s {megabytes:>6.0f} MB",
                flush=True,
            )
    finally:
        shutil.rmtree(scratch)
    print(f"{'all':<24} {total:>7} tried {bad:>5} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
