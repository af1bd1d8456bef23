import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.files import natural_order
from fgsn.matching.candidates import (
    all_pairs,
    listed_pairs,
    neighbours_in_order,
    pairs_by_position,
    pairs_in_order,
    read_positions,
)

SUMMER = [f"summer/img_{number}.jpg" for number in range(8, 12)]
WINTER = [f"winter/img_{number}.jpg" for number in range(98, 102)]


def test_numbers_in_names_count_as_numbers():
    assert sorted(["b_10", "b_9", "a_11", "b_9x"], key=natural_order) == ["a_11", "b_9", "b_9x", "b_10"]
    assert sorted(["1a", "a1", "1"], key=natural_order)  # numbers and words compare


def test_all_and_in_order():
    assert len(set(all_pairs(SUMMER, WINTER))) == 16
    pairs = pairs_in_order(SUMMER[::-1], WINTER, 1)
    assert pairs == list(zip(SUMMER, WINTER, strict=True))
    assert pairs_in_order(SUMMER, WINTER, 3)[:3] == [(SUMMER[0], name) for name in WINTER[:3]]
    assert pairs_in_order(SUMMER[:1], WINTER, 9) == [(SUMMER[0], name) for name in WINTER]
    uneven = pairs_in_order(SUMMER[:2], WINTER, 1)
    assert uneven == [(SUMMER[0], WINTER[0]), (SUMMER[1], WINTER[3])]
    assert neighbours_in_order(SUMMER[::-1], 2) == [
        (SUMMER[a], SUMMER[b]) for a, b in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
    ]
    assert neighbours_in_order(SUMMER[:1], 3) == []


def test_list(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(f"# a list\n{SUMMER[0]} {WINTER[2]}\n{WINTER[1]} {SUMMER[3]}\n{SUMMER[0]} {WINTER[2]}\n")
    assert listed_pairs(path, SUMMER, WINTER) == [(SUMMER[0], WINTER[2]), (SUMMER[3], WINTER[1])]
    path.write_text(f"{SUMMER[0]} winter/broken.jpg\n{SUMMER[0]} {WINTER[2]}\n")
    assert listed_pairs(path, SUMMER, WINTER, {"winter/broken.jpg"}) == [(SUMMER[0], WINTER[2])]
    for line, told in (
        ("one two three", "two image names"),
        (f"{SUMMER[0]} winter/img_98.jpeg", "did you mean 'winter/img_98.jpg'"),
        (f"{SUMMER[0]} {SUMMER[1]}", "an image of another condition"),
        (f"{WINTER[0]} {WINTER[1]}", "an image of another condition"),
    ):
        path.write_text(line)
        with pytest.raises(FgsnError, match=told):
            listed_pairs(path, SUMMER, WINTER)


def test_by_position(tmp_path):
    path = tmp_path / "positions.txt"
    lines = [f"{name} {10 * rank} 0" for rank, name in enumerate(SUMMER)]
    lines += [f"{name},{10 * rank + 4},1" for rank, name in enumerate(WINTER)]
    path.write_text("\n".join(lines))
    positions = read_positions(path)
    pairs = pairs_by_position(SUMMER, WINTER, positions, 2, 7.0)
    assert pairs[:3] == [(SUMMER[0], WINTER[0]), (SUMMER[1], WINTER[1]), (SUMMER[1], WINTER[0])]
    assert len(pairs_by_position(SUMMER, WINTER, positions, 9, 1e9)) == 16
    with pytest.raises(FgsnError, match="has a position"):
        pairs_by_position(["a"], WINTER, positions, 1, 1.0)


@pytest.mark.parametrize("line", ["a 1", "a x y", "a 1 nan", "a 1 2 3 4", "a"])
def test_positions_of_another_form(tmp_path, line):
    path = tmp_path / "positions.txt"
    path.write_text(line)
    with pytest.raises(FgsnError, match="an image name and two or three numbers"):
        read_positions(path)
    path.write_text("a 1 2\nb 1 2 3")
    with pytest.raises(FgsnError, match="some lines have two numbers"):
        read_positions(path)
    path.write_text("a 120 2")
    assert np.array_equal(read_positions(path)["a"], [120, 2])
