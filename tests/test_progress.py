"""Progress on stderr."""

import sys

import pytest

from fgsn import progress
from fgsn.progress import Meter, tracked


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test advances it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_with_rate_and_time_left_where_there_is_no_terminal(clock, capsys):
    with Meter("train", 200, unit=" steps") as meter:
        for n in range(100):
            clock[0] += 0.5
            meter.step(f"loss {n}")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "train: 21/200, 2 steps/s, 1:30 min left  loss 20"
    assert len(lines) == 5
    assert lines[-1] == "train: 100/200, stopped after 50 s"


def test_a_note_that_costs_something_is_made_only_when_it_is_shown(clock, capsys):
    made = []
    with Meter("train", 200) as meter:
        for n in range(100):
            clock[0] += 0.5
            meter.step(lambda n=n: made.append(n) or f"loss {n}")
    assert made == [20, 41, 62, 83]
    assert "loss 83" in capsys.readouterr().err


def test_a_resumed_task_counts_its_rate_from_where_it_went_on(clock, capsys):
    with Meter("train", 1000, done=900) as meter:
        for _ in range(2):
            clock[0] += 20
            meter.step(count=10)
    assert "train: 920/1000, 0.5/s, 2:40 min left" in capsys.readouterr().err


def test_the_start_up_does_not_count_for_the_time_left(clock, capsys):
    with Meter("verifying", 103) as meter:
        for seconds in (60, *[6] * 4):
            clock[0] += seconds
            meter.step()
    assert capsys.readouterr().err.splitlines()[:3] == [
        "verifying: 1/103",
        "verifying: 3/103",
        "verifying: 5/103, 0.17/s, 9:48 min left",
    ]


def test_a_failure_is_not_done(capsys):
    def fail():
        with Meter("train", 5) as meter:
            meter.step()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "done" not in capsys.readouterr().err


def test_nothing_to_do_says_nothing(capsys):
    with Meter("segment", 0):
        pass
    assert capsys.readouterr().err == ""


def test_tracked_passes_its_items_on(capsys):
    assert list(tracked("abc", "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == "letters: 3/3, done in 0 s\n"


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Meter("train", 3) as meter:
        for _ in range(3):
            meter.step("loss 0.5")
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599, "59:59 min"), (3661, "1:01:01 h")]
)
def test_times_for_people(seconds, text):
    assert progress._clock(seconds) == text
