import itertools
import os
import time
from dataclasses import replace
from threading import Barrier, Lock, get_ident

import h5py
import numpy as np
import pytest
from PIL import Image

from fgsn.errors import FgsnError
from fgsn.matching import features as module
from fgsn.matching.feature_matches import read_matches, write_matches
from fgsn.matching.features import Features
from fgsn.processes import Workers
from matched_scene import make_scene

NAMES = ["summer/c0/1.png", "summer/c0/2.png", "winter/c0/1.png"]


def test_found_once_and_again_when_an_image_changes(tmp_path):
    scene = make_scene(tmp_path, NAMES)
    first = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    rows, scores = first.match(NAMES[0], NAMES[2])
    assert len(rows) > 100
    assert len(scores) == len(rows)
    assert scene.matcher.asked == ["extract", "extract", "match"]
    again = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    found = again.match(NAMES[0], NAMES[2])
    assert np.array_equal(found[0], rows)
    assert found[1] == pytest.approx(scores)
    assert np.array_equal(again[NAMES[0]].pixels, first[NAMES[0]].pixels)
    assert len(scene.matcher.asked) == 3
    os.utime(scene.images[NAMES[0]], ns=(1, 1))
    changed = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    changed.match(NAMES[0], NAMES[2])
    assert scene.matcher.asked[3:] == ["extract", "match"]
    Features(scene.images, scene.matcher, tmp_path / "work", longest=640)[NAMES[1]]
    assert scene.matcher.asked[5:] == ["extract"]  # another size is another thing


def test_damaged_files_are_computed_again(tmp_path):
    scene = make_scene(tmp_path, NAMES)
    rows, _ = Features(scene.images, scene.matcher, tmp_path / "work", longest=0).match(NAMES[0], NAMES[2])
    for file in (tmp_path / "work").rglob("*.h5"):
        file.write_bytes(file.read_bytes()[:100])
    found, _ = Features(scene.images, scene.matcher, tmp_path / "work", longest=0).match(NAMES[0], NAMES[2])
    assert np.array_equal(found, rows)
    assert scene.matcher.asked == 2 * ["extract", "extract", "match"]


def test_names_that_differ_by_a_slash_have_files_of_their_own(tmp_path):
    """Also if the images have the same size and time."""
    scene = make_scene(tmp_path, ["a.png", "r/b-0.png", "r-b/0.png"])
    for path in scene.images.values():
        os.utime(path, ns=(1, 1))
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    for name in ("r/b-0.png", "r-b/0.png"):
        features.match("a.png", name)
    assert scene.matcher.asked.count("match") == 2


def test_an_image_of_the_same_size_and_time_is_another_one(tmp_path):
    scene = make_scene(tmp_path, NAMES)
    for number, name in enumerate(NAMES[1:]):  # uncompressed images, so of equal size
        Image.open(scene.images[name]).save(tmp_path / "image.bmp")
        os.utime(tmp_path / "image.bmp", ns=(1, 1))
        features = Features({"image.bmp": tmp_path / "image.bmp"}, scene.matcher, tmp_path / "work", longest=0)
        found = features["image.bmp"]
        assert found.pixels == pytest.approx(scene.matcher.found[number + 1].pixels, abs=1e-3)


def test_broken_images_are_listed(tmp_path, capsys):
    scene = make_scene(tmp_path, NAMES)
    scene.images[NAMES[1]].write_bytes(scene.images[NAMES[1]].read_bytes()[:60])
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    broken = features.extract([*NAMES, NAMES[0]])
    assert list(broken) == [NAMES[1]]
    assert "2.png" in broken[NAMES[1]]
    refused = features.match_all([(NAMES[0], NAMES[1]), (NAMES[0], NAMES[2])])
    assert list(refused) == [(NAMES[0], NAMES[1])]
    assert "features: 3/3, done in" in capsys.readouterr().err
    with pytest.raises(FgsnError, match="there is no image 'x'"):
        features["x"]
    scene.images[NAMES[0]].unlink()
    with pytest.raises(FgsnError, match=r"cannot read .*1\.png"):
        Features(scene.images, scene.matcher, tmp_path / "work", longest=0).match(NAMES[0], NAMES[2])


def test_an_image_that_breaks_later_keeps_its_features(tmp_path):
    scene = make_scene(tmp_path, NAMES)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    features.extract(NAMES)
    before = features[NAMES[0]].pixels
    features._cached.cache_clear()
    scene.images[NAMES[0]].unlink()
    assert np.array_equal(features[NAMES[0]].pixels, before)
    assert len(features.match(NAMES[0], NAMES[2])[0]) > 100


def test_no_process_is_started_for_what_is_there(tmp_path, monkeypatch):
    scene = make_scene(tmp_path, NAMES)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    pairs = [(NAMES[0], NAMES[1]), (NAMES[0], NAMES[2])]
    features.extract(NAMES)
    features.match_all(pairs)
    asked, shared = list(scene.matcher.asked), []

    class Here(Workers):
        def run(self, function, jobs, threads=False):
            shared.append(self.share(jobs))
            return Workers(0).run(function, jobs)

    again = Features(scene.images, scene.matcher, tmp_path / "work", longest=0, workers=Here(2))
    assert again.extract(NAMES) == {}
    assert again.match_all(pairs) == {}
    assert scene.matcher.asked == asked
    assert shared == [False, False]
    os.utime(scene.images[NAMES[0]], ns=(1, 1))
    monkeypatch.setattr(module, "_matcher_of_process", lambda *_: scene.matcher)
    Features(scene.images, scene.matcher, tmp_path / "work", longest=0, workers=Here(2)).match_all(pairs)
    assert shared[-1]
    assert scene.matcher.asked[len(asked) :].count("match") == 2


def test_on_a_gpu_threads_read_and_write_while_one_computes(tmp_path):
    """The same is found, by several threads of this process, and the matcher is never asked twice at a time."""
    scene = make_scene(tmp_path, NAMES)
    alone = Features(scene.images, scene.matcher, tmp_path / "alone", longest=0)
    reading, computing = set(), Lock()
    both = Barrier(2, timeout=20)  # broken if one thread alone reads

    def alone_with(compute):
        def guarded(*given):
            assert computing.acquire(blocking=False)
            time.sleep(0.01)
            computing.release()
            return compute(*given)

        return guarded

    class Counted(Features):
        def to_match(self, name):
            if get_ident() not in reading:
                reading.add(get_ident())
                both.wait()
            return super().to_match(name)

    on_gpu = replace(scene.matcher, device="cuda")
    on_gpu.match, on_gpu.extract = alone_with(scene.matcher.match), alone_with(scene.matcher.extract)
    pairs = list(itertools.combinations(NAMES, 2))
    with Workers(2) as workers:
        features = Counted(scene.images, on_gpu, tmp_path / "gpu", longest=0, workers=workers)
        assert not features.extract(NAMES)
        assert not features.match_all(pairs)
    assert len(reading) == 2
    for pair in pairs:
        assert np.array_equal(features.match(*pair)[0], alone.match(*pair)[0])


def test_nothing_half_written_when_the_disk_is_full(tmp_path, monkeypatch):
    scene = make_scene(tmp_path, NAMES)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FgsnError, match="No space left"):
            features.match(NAMES[0], NAMES[1])
        with pytest.raises(FgsnError, match="No space left"):  # and is not taken for a broken image
            features.extract(NAMES)
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert len(features.match(NAMES[0], NAMES[1])[0]) > 100


def test_matches_in_the_layout_of_hloc(tmp_path):
    path, rows = tmp_path / "matches.h5", np.array([[0, 3], [2, 1]])
    write_matches(path, "a/b.jpg", "c.jpg", 4, (rows, np.array([0.5, 0.75], np.float32)), "s")
    with h5py.File(path) as file:
        assert list(file["a-b.jpg/c.jpg/matches0"]) == [3, -1, 1, -1]
        assert list(file["a-b.jpg/c.jpg/matching_scores0"]) == [0.5, 0, 0.75, 0]
    found = read_matches(path, "a/b.jpg", "c.jpg")
    assert found is not None
    assert np.array_equal(found[0], rows)
    assert list(found[1]) == [0.5, 0.75]
    assert read_matches(path, "a/b.jpg", "c.jpg", "other") is None
    assert read_matches(path, "a/b.jpg", "d.jpg") is None
    path.write_bytes(b"")
    with pytest.raises(FgsnError, match="hloc's layout"):
        read_matches(path, "a", "b")


@pytest.mark.slow
def test_other_processes_find_the_same(tmp_path):
    pytest.importorskip("pycolmap")
    from PIL import Image
    from scipy import ndimage

    from fgsn.matching.matcher import make_matcher

    images = {}
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        images[name] = tmp_path / name
        grey = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 2)
        Image.fromarray(((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)).save(images[name])
    images["c.png"].write_bytes(b"broken")
    pairs = [("a.png", "b.png"), ("a.png", "c.png")]
    results = []
    for count in (0, 2):
        with Workers(count) as workers:
            features = Features(images, make_matcher("sift", 100), tmp_path / str(count), longest=0, workers=workers)
            assert list(features.extract(images)) == ["c.png"]
            assert list(features.match_all(pairs)) == [pairs[1]]
        results.append((features["a.png"].pixels, features.match(*pairs[0])[0]))
    assert all(np.array_equal(one, two) for one, two in zip(*results, strict=True))
