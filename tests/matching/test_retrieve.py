"""`fgsn retrieve`: pairs of queries and map images by their labels."""

import json

import numpy as np
import pytest
from PIL import Image

from fgsn.cli import main
from fgsn.config import RetrieveSettings
from fgsn.formats.hloc import read_pairs
from fgsn.formats.queries import write_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.pose import Pose
from fgsn.matching.retrieve import retrieve

PLACES = 3


@pytest.fixture
def given(tmp_path, make_model):
    """Each place has its own blotches; queries are a little brighter."""
    for place in range(PLACES):
        blotches = np.random.default_rng(place).integers(30, 200, (6, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(blotches).resize((64, 48), Image.Resampling.BICUBIC)).astype(int)
        for name, brighter in (("map", 0), ("snow", 12)):
            path = tmp_path / "images" / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(pixels + brighter, 0, 255).astype(np.uint8)).save(path)
    make_model(12).save(tmp_path / "model.safetensors")
    camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
    names, none = [f"map/{place}.png" for place in range(PLACES)], np.zeros(0, np.int64)
    poses = Pose(np.tile(np.eye(3), (PLACES, 1, 1)), np.zeros((PLACES, 3)))
    points, colours, pixels = np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros((0, 2))
    model = Reconstruction(names, [camera], np.zeros(PLACES, np.int64), poses, points, colours, none, none, pixels)
    write_model(tmp_path / "map", model)
    write_queries(tmp_path / "snow.txt", [f"snow/{place}.png" for place in range(PLACES)], [camera] * PLACES)
    return {
        "--map": tmp_path / "map", "--queries": tmp_path / "snow.txt", "--images": tmp_path / "images",
        "--model": tmp_path / "model.safetensors", "--out": tmp_path / "pairs.txt",
    }  # fmt: skip


def call(given, capsys, code=0, **other):
    named = given | {f"--{key}": value for key, value in other.items()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["retrieve", *(str(word) for pair in named.items() for word in pair), "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if code == 0 else captured.err.strip().splitlines()[-1]


def test_each_query_finds_its_place(given, capsys):
    results = call(given, capsys, count=2)
    assert results["pairs"] == 2 * PLACES
    pairs = read_pairs(given["--out"])
    assert [pairs[f"snow/{place}.png"][0] for place in range(PLACES)] == [f"map/{place}.png" for place in range(PLACES)]
    assert {len(found) for found in pairs.values()} == {2}


def test_wrong_inputs_end_in_one_line(given, tmp_path, capsys):
    assert call(given, capsys, 2, count=0).endswith("--count must be at least 1, not 0")
    assert "none" in call(given, capsys, 1, map=tmp_path / "none")
    assert "does not exist; --model" in call(given, capsys, 1, model=tmp_path / "none.safetensors")
    assert "did you mean --images" in call(given, capsys, 1, images=tmp_path)
    assert not given["--out"].exists()


@pytest.mark.parametrize("left", [2, 200])  # bytes: no image, and one whose size can be read
def test_one_broken_image_does_not_take_the_others(given, tmp_path, left):
    path = tmp_path / "images" / "snow" / "1.png"
    path.write_bytes(path.read_bytes()[:left])
    named = {key[2:]: value for key, value in given.items()} | {"queries": (given["--queries"],)}
    results = retrieve(RetrieveSettings(**named))
    assert [str(tmp_path / "images" / "snow" / "1.png") in reason for reason in results["failed"]] == [True]
    assert results["queries"] == PLACES - 1
    assert "snow/1.png" not in read_pairs(given["--out"])


def test_queries_that_all_break_while_decoding_end_in_one_line(given, tmp_path, capsys):
    for path in (tmp_path / "images" / "snow").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    assert "no image of the queries can be used, as " in call(given, capsys, 1)


def test_a_list_without_a_usable_image_leaves_the_other_lists(given, tmp_path):
    lines = given["--queries"].read_text().splitlines(keepends=True)
    (tmp_path / "one.txt").write_text(lines[0])
    (tmp_path / "rest.txt").write_text("".join(lines[1:]))
    (tmp_path / "images" / lines[0].split()[0]).unlink()
    named = {key[2:]: value for key, value in given.items()}
    results = retrieve(RetrieveSettings(**named | {"queries": (tmp_path / "one.txt", tmp_path / "rest.txt")}))
    assert results["queries"] == PLACES - 1
    assert len(results["failed"]) == 1
