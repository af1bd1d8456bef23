import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.errors import FgsnError
from fgsn.formats.lists import list_files, numbers_after_name, pose_numbers, read_list, unit_quaternion
from localization.toy import read_or_refused


def read(path):
    return read_list(path, lambda line: numbers_after_name(line, "name a b"))


def test_comments_and_blank_lines_are_left_out_and_names_may_hold_spaces(tmp_path):
    (tmp_path / "a.txt").write_text("# name a b\n\n  x y.jpg 1 -2e3\nz 3 4 \r\n")
    found = read(tmp_path / "a.txt")
    assert {name: list(values) for name, values in found.items()} == {"x y.jpg": [1, -2000], "z": [3, 4]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x 1\n", r"a\.txt:1: expected 'name a b'"),
        ("x 1 2\ny 1 two\n", r"a\.txt:2: expected"),
        ("x 1 nan\n", "finite"),
        ("x 1 1e999\n", "finite"),
        ("x 1 2 3\n", "more numbers"),
        ("#\nx 1 2\nx 1 2\n", r"a\.txt:3: 'x' is already in line 2"),
        ("# nothing\n", "contains no line"),
        ("1 2\n", "expected"),
    ],
)
def test_broken_lists_are_said_in_one_line(tmp_path, text, says):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FgsnError, match=says) as error:
        read(tmp_path / "a.txt")
    assert "\n" not in str(error.value)


def test_a_folder_is_all_its_lists(tmp_path):
    with pytest.raises(FgsnError, match=r"contains no \.txt files"):
        list_files(tmp_path)
    (tmp_path / "b.txt").write_text("y 1 2\n")
    (tmp_path / "a.txt").write_text("x 1 2\n")
    (tmp_path / "notes.md").write_text("hello")
    assert list(read(tmp_path)) == ["x", "y"]
    (tmp_path / "b.txt").write_text("x 1 2\n")
    with pytest.raises(FgsnError, match=r"b\.txt:1: 'x' is already in a\.txt:1; keep one, or give one file of "):
        read(tmp_path)
    with pytest.raises(FgsnError, match="does not exist"):
        read(tmp_path / "c.txt")


def test_quaternions_are_made_exact_or_refused():
    assert np.linalg.norm(unit_quaternion(np.array([0.7071, 0.7071, 0, 0]))) == pytest.approx(1, abs=1e-15)
    for wrong in ([1, 1, 0, 0], [0, 0, 0, 0], [0.9, 0, 0, 0]):
        with pytest.raises(FgsnError, match="has length"):
            unit_quaternion(np.array(wrong, float))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_line_is_a_pose_or_an_fgsn_error(line):
    found = read_or_refused(lambda: pose_numbers(line))
    assert found is None or (found[0] and np.isfinite(found[1]).all())
