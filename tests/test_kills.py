"""Killed trainings go on with the same bits; the work is done by benchmarks/kills.py, in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


def killed(*arguments):
    found = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout.splitlines()


def test_two_kills_of_a_training():
    *runs, summary = killed("--kills", "2", "--only", "train", "--steps", "12")
    assert all(line.endswith("then the same bits in 8 files") for line in runs)
    assert "2 kills" in summary
    assert summary.endswith("0 unreadable or different files")


@pytest.mark.slow
def test_twenty_kills_of_each_training():
    lines = killed("--kills", "20", "--seed", "1")
    summaries = [line for line in lines if line.endswith("0 unreadable or different files")]
    assert [line.partition(",")[0] for line in summaries] == ["train: 20 kills", "pretrain: 20 kills"]
