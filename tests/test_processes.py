import os
import signal
import subprocess
import sys

import pytest

from fgsn.errors import FgsnError
from fgsn.processes import Workers

# Processes that are not forked import what they run, so it is a function of the standard library.
CALLS = """
import time
from fgsn.processes import Workers
if __name__ == "__main__":
    with Workers(2) as workers:
        for _ in workers.run(time.sleep, [(0,), (0,)]):
            pass
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_come_in_order(count):
    with Workers(count) as workers:
        found = list(workers.run(divmod, [(number, 3) for number in range(7)]))
        assert found == [divmod(number, 3) for number in range(7)]


def test_threads_are_of_this_process():
    with Workers(2) as workers:
        assert set(workers.run(os.getpid, [()] * 4, threads=True)) == {os.getpid()}


def test_other_processes_do_the_work():
    for count in (1, 2):
        with Workers(count) as workers:
            first = set(workers.run(os.getpid, [()] * 4))
            assert os.getpid() not in first
            assert len(first | set(workers.run(os.getpid, [()] * 4))) <= count  # they stay
            assert list(workers.run(os.getpid, [()])) == [os.getpid()]  # a single job is not worth one


def test_each_process_computes_in_one_thread_unless_the_user_has_chosen(monkeypatch):
    for chosen in (None, "3"):
        monkeypatch.delenv("OMP_NUM_THREADS") if chosen is None else monkeypatch.setenv("OMP_NUM_THREADS", chosen)
        with Workers(1) as workers:
            assert list(workers.run(os.getenv, [("OMP_NUM_THREADS",)] * 2)) == [chosen or "1"] * 2


def test_no_process_is_started_for_0_workers_or_a_single_core(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for count in (0, None):
        with Workers(count) as workers:
            assert set(workers.run(os.getpid, [()] * 4)) == {os.getpid()}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_failure_reaches_the_caller(count):
    with pytest.raises(ZeroDivisionError), Workers(count) as workers:
        list(workers.run(divmod, [(1, 0)] * 2))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_that_is_killed_is_told():
    with Workers(2) as workers:
        with pytest.raises(FgsnError, match="a worker process was killed, perhaps for want of memory"):
            list(workers.run(signal.raise_signal, [(signal.SIGKILL,)] * 2))
        assert list(workers.run(divmod, [(5, 3)] * 2)) == [(1, 2)] * 2  # others start


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
