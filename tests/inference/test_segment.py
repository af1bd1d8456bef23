"""fgsn segment: folders of images to label maps."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fgsn.config import SegmentSettings
from fgsn.data.images import read_image
from fgsn.errors import FgsnError, UsageError
from fgsn.inference import segment as module
from fgsn.inference.label_maps import read_label_map, write_label_map
from fgsn.inference.segment import segment
from fgsn.inference.segmenter import Segmenter


@pytest.fixture
def model(make_model, tmp_path):
    made = make_model()
    made.save(tmp_path / "model.safetensors")
    return made


def run(tmp_path, **changes):
    given = {"model": tmp_path / "model.safetensors", "images": tmp_path / "images", "out": tmp_path / "out"}
    return segment(SegmentSettings(**({"precision": "float32"} | given | changes), device="cpu"))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_label_map_is_what_the_model_says(model, make_image, tmp_path):
    image = make_image(tmp_path / "images" / "street.png", 101, 70)
    results = run(tmp_path)
    labels, clusters = read_label_map(tmp_path / "out" / "labels" / "street.png")
    np.testing.assert_array_equal(labels, model.segment(image))
    assert clusters == 5
    assert results["segmented"] == results["images"] == 1
    assert results["failed"] == []
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results


def test_subfolders_are_mirrored(model, make_image, tmp_path):
    for name in ("a/c0/1.png", "a/c1/1.png", "b/1.jpg", "2.png"):
        make_image(tmp_path / "images" / name)
    assert run(tmp_path)["segmented"] == 4
    assert files(tmp_path / "out" / "labels") == ["2.png", "a/c0/1.png", "a/c1/1.png", "b/1.png"]


def test_two_images_that_differ_in_their_ending_only_are_both_kept(model, make_image, tmp_path):
    one, other = make_image(tmp_path / "images/1.png", seed=1), make_image(tmp_path / "images/1.jpg", seed=2)
    make_image(tmp_path / "images" / "2.jpg")
    run(tmp_path)
    labels = tmp_path / "out" / "labels"
    assert files(labels) == ["1.jpg.png", "1.png.png", "2.png"]
    np.testing.assert_array_equal(read_label_map(labels / "1.png.png")[0], model.segment(one))
    np.testing.assert_array_equal(read_label_map(labels / "1.jpg.png")[0], model.segment(other))


def test_broken_images_are_listed_and_the_others_finished(model, make_image, tmp_path):
    for n in range(5):
        make_image(tmp_path / "images" / f"{n}.png")
    (tmp_path / "images" / "1.png").write_bytes(b"")
    (tmp_path / "images" / "4.png").write_bytes((tmp_path / "images" / "3.png").read_bytes()[:500])
    results = run(tmp_path)
    assert files(tmp_path / "out" / "labels") == ["0.png", "2.png", "3.png"]
    assert results["segmented"] == 3
    assert [line.count("\n") for line in results["failed"]] == [0, 0]
    assert "1.png" in results["failed"][0]
    assert "4.png" in results["failed"][1]
    make_image(tmp_path / "images" / "1.png")
    results = run(tmp_path)
    assert (results["segmented"], results["already_there"], len(results["failed"])) == (1, 3, 1)


def test_photographs_in_formats_that_are_not_read_are_counted(model, make_image, tmp_path):
    make_image(tmp_path / "images" / "a" / "1.png")
    (tmp_path / "images" / "a" / "2.HEIC").touch()
    results = run(tmp_path)
    assert results["segmented"] == 1
    assert results["failed"] == [
        f"{tmp_path / 'images'} contains images in formats that are not read: 1 .heic; convert them to JPEG"
    ]


def test_nothing_but_broken_images(model, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(b"")
    results = run(tmp_path)
    assert results["segmented"] == 0
    assert len(results["failed"]) == 1


def test_what_exists_is_skipped_unless_told_otherwise(model, make_image, tmp_path):
    for n in range(3):
        make_image(tmp_path / "images" / f"{n}.png")
    run(tmp_path)
    stored = tmp_path / "out" / "labels" / "0.png"
    made = stored.stat().st_mtime_ns
    (tmp_path / "out" / "labels" / "2.png").unlink()
    results = run(tmp_path)
    assert (results["segmented"], results["already_there"]) == (1, 2)
    assert stored.stat().st_mtime_ns == made
    assert run(tmp_path, overwrite=True)["segmented"] == 3
    assert stored.stat().st_mtime_ns != made


def test_something_more_to_save_is_made_for_all(model, make_image, tmp_path):
    make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path)
    assert run(tmp_path, save=("labels", "overlay", "features", "scores"))["segmented"] == 1
    assert [name for name in files(tmp_path / "out") if "/" in name] == [
        "features/street.npy", "labels/street.png", "overlay/street.jpg", "scores/street.npy"
    ]  # fmt: skip
    features, scores = (np.load(tmp_path / "out" / kind / "street.npy") for kind in ("features", "scores"))
    assert (features.shape, features.dtype) == ((16, 9, 13), np.float16)
    assert (scores.shape, scores.dtype) == ((5, 9, 13), np.float16)
    expected = model.features(tmp_path / "images" / "street.png")
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=0.05)
    with Image.open(tmp_path / "out" / "overlay" / "street.jpg") as picture:
        assert picture.width == 101


def test_another_model_or_size_is_refused_in_the_same_folder(model, make_model, make_image, tmp_path):
    make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path)
    make_model(seed=1).save(tmp_path / "other.safetensors")
    for what, change in (
        ("another model", {"model": tmp_path / "other.safetensors", "window": 33}),
        (f"this model with --short-side {model.short_side}, not 40", {"short_side": 40}),
        (f"this model with --window {model.window}, not 33 and --tiling aligned, not published",
         {"window": 33, "tiling": "published"}),
    ):  # fmt: skip
        with pytest.raises(FgsnError, match=f"out contains label maps of {what}: choose another --out, or add"):
            run(tmp_path, **change)
    assert run(tmp_path, model=tmp_path / "other.safetensors", overwrite=True)["segmented"] == 1
    labels = read_label_map(tmp_path / "out" / "labels" / "street.png")[0]
    np.testing.assert_array_equal(labels, make_model(seed=1).segment(tmp_path / "images" / "street.png"))


def test_settings_of_the_network_are_those_of_the_flags(model, make_image, tmp_path):
    image = make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path, short_side=48, window=33, batch=2)
    expected = replace(model, short_side=48, window=33).segment(image)
    assert (expected != model.segment(image)).any()
    np.testing.assert_array_equal(read_label_map(tmp_path / "out" / "labels" / "street.png")[0], expected)


def test_more_than_256_labels_are_16_bits(make_model, make_image, tmp_path):
    model = make_model(classes=300, names=False)
    model.save(tmp_path / "model.safetensors")
    image = make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path)
    labels, clusters = read_label_map(tmp_path / "out" / "labels" / "street.png")
    assert clusters == 300
    assert labels.max() > 255
    np.testing.assert_array_equal(labels, model.segment(image))
    with Image.open(tmp_path / "out" / "labels" / "street.png") as stored:
        assert stored.mode == "I;16"


def test_one_image_and_a_list_of_images(model, make_image, tmp_path):
    image = make_image(tmp_path / "images" / "a" / "1.png")
    make_image(tmp_path / "images" / "a" / "2.png")
    assert run(tmp_path, images=image)["images"] == 1
    (tmp_path / "list.txt").write_text("a/2.png\n")
    assert run(tmp_path, images=tmp_path / "list.txt")["images"] == 1
    assert files(tmp_path / "out" / "labels") == ["1.png", "a/2.png"]


def test_a_full_disk_ends_the_run_in_one_line_and_leaves_no_part(model, make_image, tmp_path, monkeypatch):
    for n in range(4):
        make_image(tmp_path / "images" / f"{n}.png")
    save = Image.Image.save
    saved = []

    def full(image, path, *args, **kwargs):
        save(image, path, *args, **kwargs)
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FgsnError, match=r"cannot write .*/\d\.png: No space left on device") as refused:
        run(tmp_path)
    failed = str(refused.value).partition(".png")[0][-1]  # files are written in parallel, in any order
    assert f"{failed}.png" not in files(tmp_path / "out" / "labels")
    assert not [name for name in files(tmp_path / "out") if name.endswith(".part")]
    monkeypatch.undo()
    assert run(tmp_path)["failed"] == []
    assert files(tmp_path / "out" / "labels") == ["0.png", "1.png", "2.png", "3.png"]


def test_an_interruption_leaves_whole_maps_only(model, make_image, tmp_path, monkeypatch):
    for n in range(4):
        make_image(tmp_path / "images" / f"{n}.png")
    many = Segmenter.many

    def interrupted(*args):
        for number, image in enumerate(many(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield image

    monkeypatch.setattr(Segmenter, "many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert files(tmp_path / "out" / "labels") == ["0.png", "1.png"]


@pytest.fixture
def other_segment(tmp_path, at_work):
    """Another process that is segmenting into the same folder."""
    with at_work(tmp_path / "out"):
        yield


def test_two_at_once_share_a_folder(model, make_image, tmp_path, request):
    make_image(tmp_path / "images" / "1.png")
    run(tmp_path)
    left = tmp_path / "out" / "labels" / ".1.png.0123456789ab.part"
    left.write_bytes(b"half")
    make_image(tmp_path / "images" / "2.png")
    request.getfixturevalue("other_segment")
    assert run(tmp_path)["segmented"] == 1
    assert left.exists()  # it could be what the other is writing


def test_two_models_at_once_are_refused(model, make_model, make_image, tmp_path, request):
    make_image(tmp_path / "images" / "1.png")
    run(tmp_path)
    before = (tmp_path / "out" / "made_from.json").read_bytes()
    make_model(seed=1).save(tmp_path / "other.safetensors")
    request.getfixturevalue("other_segment")
    with pytest.raises(FgsnError, match=r"out is being filled with label maps of another model: choose another"):
        run(tmp_path, model=tmp_path / "other.safetensors", overwrite=True)
    with pytest.raises(FgsnError, match=r"out is being filled with label maps of this model with --short-side"):
        run(tmp_path, short_side=40)
    assert (tmp_path / "out" / "made_from.json").read_bytes() == before


def test_what_a_killed_process_left_is_removed(model, make_image, tmp_path):
    make_image(tmp_path / "images" / "1.png")
    run(tmp_path)
    left = tmp_path / "out" / "labels" / ".1.png.0123456789ab.part"
    left.write_bytes(b"half")
    run(tmp_path)
    assert not left.exists()


def test_a_broken_image_may_stop_the_run(model, make_image, tmp_path):
    for name in ("1", "2", "3"):
        make_image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "2.png").write_bytes(b"")
    with pytest.raises(FgsnError, match=r"2\.png is not an image"):
        run(tmp_path, on_bad_image="stop")
    assert files(tmp_path / "out" / "labels") == ["1.png"]


def test_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="--save must be among labels, overlay, features, scores, not depth"):
        SegmentSettings(model=tmp_path, images=tmp_path, out=tmp_path, save=("labels", "depth"))
    with pytest.raises(UsageError, match="use 97 instead of 100"):
        SegmentSettings(model=tmp_path, images=tmp_path, out=tmp_path, window=100)


def test_label_maps_half_written_over_stay_refused(model, make_model, make_image, tmp_path, monkeypatch):
    make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path)
    make_model(seed=1).save(tmp_path / "other.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(module, "segment_images", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, model=tmp_path / "other.safetensors", overwrite=True)
    for name in ("model", "other"):
        with pytest.raises(FgsnError, match="contains label maps of another model or other settings, partly over"):
            run(tmp_path, model=tmp_path / f"{name}.safetensors")
    assert run(tmp_path, model=tmp_path / "other.safetensors", overwrite=True)["segmented"] == 1
    assert run(tmp_path, model=tmp_path / "other.safetensors")["already_there"] == 1


def test_label_maps_of_two_precisions_are_not_mixed(model, make_image, tmp_path):
    for n in range(2):
        make_image(tmp_path / "images" / f"{n}.png", 101, 70, seed=n)
    run(tmp_path)
    assert "precision" not in json.loads((tmp_path / "out" / "made_from.json").read_text())
    with pytest.raises(FgsnError, match="contains label maps of this model with --precision float32, not bfloat16: "):
        run(tmp_path, precision="bfloat16")
    assert run(tmp_path, precision="bfloat16", out=tmp_path / "half")["segmented"] == 2
    assert json.loads((tmp_path / "half" / "made_from.json").read_text())["precision"] == "bfloat16"
    expected = Segmenter(model, "bfloat16").labels(read_image(tmp_path / "images" / "1.png"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "half" / "labels" / "1.png")[0], expected)


@pytest.mark.parametrize("tiling", ["aligned", "published"])
def test_all_kinds_at_once_are_those_that_are_made_alone(model, make_image, tmp_path, tiling):
    image = make_image(tmp_path / "images" / "street.png", 101, 70)
    run(tmp_path, tiling=tiling, save=("labels", "overlay", "features", "scores"))
    out, alone = tmp_path / "out", replace(model, tiling=tiling)
    np.testing.assert_array_equal(read_label_map(out / "labels" / "street.png")[0], alone.segment(image))
    np.testing.assert_allclose(np.load(out / "features" / "street.npy"), alone.features(image), rtol=1e-2, atol=0.05)
    scores = alone.scores(read_image(image))
    np.testing.assert_allclose(np.load(out / "scores" / "street.npy"), scores, rtol=1e-2, atol=0.05)


def test_memory_must_be_some(tmp_path):
    with pytest.raises(UsageError, match="--memory must be above 0, not 0"):
        SegmentSettings(model=tmp_path, images=tmp_path, out=tmp_path, memory=0)


def test_an_image_that_grows_too_large_and_a_pipe_are_listed_and_the_others_made(model, make_image, tmp_path):
    make_image(tmp_path / "images" / "thin.png", 1, 5000)
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    make_image(tmp_path / "images" / "street.png")
    results = run(tmp_path, short_side=480)
    assert results["segmented"] == 1
    assert ["is not a file" in line or "is too large" in line for line in results["failed"]] == [True, True]


def changed_size(image, stored, make_image):
    make_image(image, 50, 40)


def another_image_of_this_name(image, stored, make_image):
    make_image(image, seed=1)
    os.utime(image, (0, 0))  # older than the label map


def newer_image(image, stored, make_image):
    os.utime(image, (2e9, 2e9))


def cut_off(image, stored, make_image):
    stored.write_bytes(stored.read_bytes()[:-20])


def of_another_size(image, stored, make_image):
    write_label_map(stored, np.zeros((4, 4), int), 5)


def empty(image, stored, make_image):
    stored.write_bytes(b"")


@pytest.mark.parametrize(
    "change", [changed_size, another_image_of_this_name, newer_image, cut_off, of_another_size, empty]
)
def test_only_complete_label_maps_of_the_image_as_it_is_are_used_again(model, make_image, tmp_path, change):
    image, stored = tmp_path / "images" / "a.png", tmp_path / "out" / "labels" / "a.png"
    make_image(image)
    run(tmp_path)
    change(image, stored, make_image)
    assert run(tmp_path)["segmented"] == 1
    np.testing.assert_array_equal(read_label_map(stored)[0], model.segment(image))


@pytest.mark.parametrize("kind", ["overlay", "features", "scores"])
def test_other_outputs_that_are_cut_off_are_made_again(model, make_image, tmp_path, kind):
    make_image(tmp_path / "images" / "a.png")
    run(tmp_path, save=(kind,))
    assert run(tmp_path, save=(kind,))["already_there"] == 1
    (stored,) = (tmp_path / "out" / kind).iterdir()
    stored.write_bytes(stored.read_bytes()[:-20])
    assert run(tmp_path, save=(kind,))["segmented"] == 1


def test_label_maps_of_unknown_origin_are_not_taken_for_ours(model, make_image, tmp_path):
    make_image(tmp_path / "images" / "a.png")
    write_label_map(tmp_path / "out" / "labels" / "a.png", np.zeros((48, 64), int), 5)
    with pytest.raises(FgsnError, match="out contains label maps of unknown origin: choose another --out, or add"):
        run(tmp_path)
    assert run(tmp_path, overwrite=True)["segmented"] == 1
