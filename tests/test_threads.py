"""The number of threads follows the cores that other processes leave free."""

import os
import sys
import time

import pytest
import torch

from fgsn import threads
from fgsn.threads import fitting_threads, restore_threads


@pytest.fixture
def limits(monkeypatch):
    """The limits that are set, on a machine of four cores where the user has not chosen."""
    for name in threads.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    found = []
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    return found


def start(monkeypatch, busy, seconds=2.0, imports_torch=True):
    """A command whose imports take some seconds, while other processes occupy a number of cores."""
    loads = iter([(100.0, 50.0), (100.0 + seconds, 50.0 + seconds * busy)])
    monkeypatch.setattr(threads, "_other_seconds", lambda: next(loads))
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        with fitting_threads():
            if imports_torch:
                sys.modules["torch"] = torch


@pytest.mark.parametrize(("busy", "expected"), [(0.0, []), (0.3, []), (0.9, [3]), (2.6, [1]), (4.0, [1]), (9.0, [1])])
def test_as_many_threads_as_cores_are_free(limits, monkeypatch, capsys, busy, expected):
    start(monkeypatch, busy)
    assert limits == expected
    assert ("of 4 cores are busy" in capsys.readouterr().err) == bool(expected)


def test_nothing_changes_without_torch_or_time_to_measure(limits, monkeypatch):
    start(monkeypatch, 4.0, imports_torch=False)
    start(monkeypatch, 4.0, seconds=0.1)
    with fitting_threads():  # torch is loaded, so this process belongs to a program that may have chosen
        pass
    assert limits == []


@pytest.mark.parametrize("name", threads.CHOSEN_BY_USER)
def test_the_users_choice_stays(limits, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    start(monkeypatch, 4.0)
    restore_threads(2)
    assert limits == []


def test_a_resumed_run_computes_in_as_many_threads_as_before(limits):
    for count in (1, 3, 0, 5):  # 0: a checkpoint that does not say; 5: of a larger machine
        restore_threads(count)
    assert limits == [1, 3]


def test_other_processes_are_those_that_are_not_this_one(tmp_path):
    file = tmp_path / "stat"
    file.write_text("cpu  5000 100 900 777777 88888 0 0 0 0 0\ncpu0 1 2 3\n")
    found = threads._other_seconds(file)
    assert found is not None
    assert found[1] == pytest.approx(6000 / os.sysconf("SC_CLK_TCK") - time.process_time(), abs=0.5)
    file.write_text("")
    assert threads._other_seconds(file) is None
    assert threads._other_seconds(tmp_path / "absent") is None
