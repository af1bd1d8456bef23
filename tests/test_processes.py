import os
import signal
import subprocess
import sys

import pytest

from fgsn.processes import processes

# Processes that are not forked import what they run, so it is a function of the standard library.
CALLS = """
import time
from fgsn.processes import processes
if __name__ == "__main__":
    with processes(2) as run:
        for _ in run(time.sleep, [(0,), (0,)]):
            pass
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers):
    with processes(workers) as run:
        assert list(run(divmod, [(number, 3) for number in range(7)])) == [divmod(number, 3) for number in range(7)]


def test_other_processes_do_the_work():
    for workers in (1, 2):
        with processes(workers) as run:
            assert os.getpid() not in set(run(os.getpid, [()] * 4))


def test_each_process_computes_in_one_thread_unless_the_user_has_chosen(monkeypatch):
    for chosen in (None, "3"):
        monkeypatch.delenv("OMP_NUM_THREADS") if chosen is None else monkeypatch.setenv("OMP_NUM_THREADS", chosen)
        with processes(1) as run:
            assert list(run(os.getenv, [("OMP_NUM_THREADS",)])) == [chosen or "1"]


def test_no_process_is_started_for_0_workers_or_a_single_core(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for workers in (0, None):
        with processes(workers) as run:
            assert set(run(os.getpid, [()] * 4)) == {os.getpid()}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_failure_reaches_the_caller(workers):
    with pytest.raises(ZeroDivisionError), processes(workers) as run:
        list(run(divmod, [(1, 0)]))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "calls.py"
    script.write_text(CALLS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
        # They share its output, which ends with the last of them.
        parent.communicate(timeout=20)
