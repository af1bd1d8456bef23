import pytest

from fgsn.errors import FgsnError
from fgsn.formats.queries import Query, read_queries, read_query_lists
from fgsn.geometry.camera import Camera

OPENCV = "868.99 866.06 525.94 420.04 -0.399431 0.188924 0.000153 0.000571"


def test_cameras_are_read_with_pixel_centres_at_integers(tmp_path):
    path = tmp_path / "queries.txt"
    path.write_text(f"# hloc\nq/1.jpg PINHOLE 320 240 250 251 160 120\nq/a b.jpg OPENCV 1024 768 {OPENCV}\n")
    pinhole, opencv = read_queries(path)
    assert pinhole == Query("q/1.jpg", Camera(320, 240, 250, 251, 159.5, 119.5))
    assert opencv.name == "q/a b.jpg"
    assert opencv.camera.model == "OPENCV"
    assert opencv.camera.distortion == (-0.399431, 0.188924, 0.000153, 0.000571)


def test_a_folder_of_lists(tmp_path):
    for name in ("snow", "night"):
        (tmp_path / f"{name}.txt").write_text(f"{name}/1.jpg SIMPLE_RADIAL 320 240 250 160 120 0.1\n")
    assert [query.name for query in read_queries(tmp_path)] == ["night/1.jpg", "snow/1.jpg"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q/1.jpg", "has no intrinsics"),
        ("q/1.jpg 320 240 250 251 160 120", "has no intrinsics"),
        ("q/1.jpg PINHOL 320 240 250 251 160 120", "unknown camera model 'PINHOL'; did you mean 'PINHOLE'"),
        ("q/1.jpg PINHOLE 320 240 250 251 160", "has 4 parameters, not 3"),
        ("q/1.jpg PINHOLE 320 240 250 251 160 12x", "expected 'name MODEL"),
        ("q/1.jpg PINHOLE 320", "expected 'name MODEL"),
        ("q/1.jpg PINHOLE 320.5 240 250 251 160 120", "expected 'name MODEL"),
        ("q/1.jpg PINHOLE 0 240 250 251 160 120", "invalid camera"),
        ("q/1.jpg PINHOLE 320 240 nan 251 160 120", "invalid camera"),
        ("q/1.jpg PINHOLE inf 240 250 251 160 120", "expected 'name MODEL"),
        ("PINHOLE 320 240 250 251 160 120", "has no intrinsics"),
        ("q/0.jpg PINHOLE 320 240 250 251 160 120", "is already in line 1"),
        (
            "b.jpg PINHOLE 320 240 250 251 9999 120",
            r"the principal point \(9999, 120\) is far outside the image of 320",
        ),
    ],
)
def test_broken_lines_are_said_with_file_and_line(tmp_path, line, says):
    path = tmp_path / "queries.txt"
    path.write_text(f"q/0.jpg PINHOLE 320 240 250 251 160 120\n{line}\n")
    with pytest.raises(FgsnError, match=says) as error:
        read_queries(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert "\n" not in str(error.value)


def test_spaces_in_names_are_kept(tmp_path):
    (tmp_path / "q.txt").write_text("a  b/1.jpg\tPINHOLE 64  48 50 51 32 24\n")
    assert [query.name for query in read_queries(tmp_path / "q.txt")] == ["a  b/1.jpg"]


def test_lists_stay_apart_and_share_no_name(tmp_path):
    for condition in ("night", "snow"):
        (tmp_path / f"{condition}.txt").write_text(f"{condition}/1.jpg PINHOLE 64 48 50 50 32 24\n")
    lists = read_query_lists([tmp_path])
    assert [[query.name for query in some] for some in lists] == [["night/1.jpg"], ["snow/1.jpg"]]
    assert read_query_lists([tmp_path / "night.txt", tmp_path / "snow.txt"]) == lists
    (tmp_path / "more.txt").write_text("snow/1.jpg PINHOLE 64 48 50 50 32 24\n")
    with pytest.raises(FgsnError, match=r"'snow/1.jpg' is in .*more.txt and in .*snow.txt; keep one"):
        read_query_lists([tmp_path])
