import json
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fgsn.checks.check import check
from fgsn.config import CheckSettings, PrepareSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.pair_files import PairFile
from fgsn.data.prepare import connected_images, moved_for_training, prepare, split_end, split_pairs, split_places
from fgsn.errors import FgsnError
from fgsn.files import read_lines

NAMES = st.lists(st.text("abc0123/_", min_size=1, max_size=6), max_size=30)
SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**32)


@given(NAMES, SHARES, SEEDS)
def test_split_is_a_partition_without_replacement(names, share, seed):
    for train, validation in (split_places(names, share, seed), split_end(names, share)):
        assert sorted(train + validation) == sorted(set(names))
        if len(set(names)) >= 2:
            assert train
            assert validation
        else:
            assert not validation


@given(NAMES, SHARES, SEEDS, st.randoms(use_true_random=False))
def test_split_depends_on_the_set_of_names_only(names, share, seed, shuffler: random.Random):
    shuffled = names + names[:3]
    shuffler.shuffle(shuffled)
    assert split_places(names, share, seed) == split_places(shuffled, share, seed)
    assert split_end(names, share) == split_end(shuffled, share)


@given(NAMES, SHARES, SHARES, SEEDS)
def test_a_larger_share_only_adds_to_validation(names, one, other, seed):
    small, large = sorted((one, other))
    assert set(split_places(names, small, seed)[1]) <= set(split_places(names, large, seed)[1])
    assert set(split_end(names, small)[1]) <= set(split_end(names, large)[1])


def test_split_is_the_same_on_every_machine():
    names = [f"place{number:02d}" for number in range(10)]
    assert split_places(names, 0.3, seed=0)[1] == ["place02", "place03", "place08"]
    assert split_places(names, 0.3, seed=1)[1] != split_places(names, 0.3, seed=0)[1]
    assert split_end(["f1", "f9", "f10", "f2"], 0.25) == (["f1", "f2", "f9"], ["f10"])


def test_every_file_is_used_and_no_place_is_on_both_sides(tmp_path, make_dataset):
    root = make_dataset(tmp_path, places=8)
    results = prepare(PrepareSettings(dataset=root, validation_share=0.3))
    train, validation = read_lines(root / "corr_train.txt"), read_lines(root / "corr_val.txt")
    assert sorted(train + validation) == [path.name for path in Dataset.open(root).correspondence_files()]
    assert len(set(train)) == len(train) == 12
    assert {name[-7:] for name in train}.isdisjoint(name[-7:] for name in validation)
    assert results["failed"] == []
    assert results["pairs"] == 16
    assert results["places"] == 8
    assert results["validation_places"] == 2
    assert results["conditions"] == 3
    assert results["points"] == 16 * 40
    assert json.loads((root / "results.json").read_text()) == results
    assert yaml.safe_load((root / "config.yaml").read_text())["validation_share"] == 0.3


def test_the_same_again_gives_the_same_bytes(tmp_path, make_dataset):
    root = make_dataset(tmp_path)
    names = ("corr_train.txt", "corr_val.txt", "reference_image_names.txt", "reference_points.h5", "places.json")
    contents = []
    for _ in range(2):
        prepare(PrepareSettings(dataset=root))
        contents.append([(root / name).read_bytes() for name in names])
    assert contents[0] == contents[1]


def test_equal_base_names_of_two_cameras_stay_apart(tmp_path, make_pair):
    for seed, name in enumerate(("a/left/7.png", "a/right/7.png", "b/7.png", "deep/er/still/7.png")):
        make_pair(tmp_path, f"{seed}.mat", name, f"snow/{name}", seed=seed)
    prepare(PrepareSettings(dataset=tmp_path))
    dataset = Dataset.open(tmp_path)
    assert len(dataset.reference_images("train")) == 3
    for path in dataset.pairs("train"):
        pair = read_correspondences(path)
        points = dataset.reference_points(pair.reference)
        assert sorted(map(tuple, points)) == sorted(map(tuple, pair.points_ref))


def test_pairs_that_share_an_image_belong_together(tmp_path, make_pair):
    make_pair(tmp_path, "1.mat", "x/1.png", "y/1.png", seed=1)
    make_pair(tmp_path, "2.mat", "z/1.png", "y/1.png", seed=2)  # the same target
    make_pair(tmp_path, "3.mat", "y/1.png", "w/1.png", seed=3)  # a target that is also a reference
    make_pair(tmp_path, "4.mat", "x/2.png", "y/2.png", seed=4)
    results = prepare(PrepareSettings(dataset=tmp_path))
    assert results["places"] == 2
    assert results["places_from"] == "shared images"
    sides = [set(read_lines(tmp_path / name)) for name in ("corr_train.txt", "corr_val.txt")]
    assert {"4.mat"} in sides
    assert {"1.mat", "2.mat", "3.mat"} in sides
    assert Dataset.open(tmp_path).place("w/1.png") == "x/1.png"


@pytest.mark.parametrize("split", ["random", "end"])
def test_a_chain_is_split_by_reference_image_and_the_border_left_out(tmp_path, make_pair, split):
    for frame in range(10):
        for offset in (0, 1):
            name = f"{frame}_{offset}.mat"
            make_pair(tmp_path, name, f"spring/{frame}.png", f"autumn/{frame + offset}.png", seed=frame)
    results = prepare(PrepareSettings(dataset=tmp_path, validation_share=0.2, split=split))
    assert results["places_from"] == "reference images"
    assert results["places"] == 10
    assert results["validation_pairs"] == 4
    assert results["left_out_pairs"] > 0
    assert results["train_pairs"] + results["validation_pairs"] + results["left_out_pairs"] == 20
    dataset = Dataset.open(tmp_path)
    images = [
        {image for path in dataset.pairs(side) for image in (read_correspondences(path).target,)}
        for side in ("train", "validation")
    ]
    assert images[0].isdisjoint(images[1])
    if split == "end":
        assert read_lines(tmp_path / "corr_val.txt") == ["8_0.mat", "8_1.mat", "9_0.mat", "9_1.mat"]
        assert results["left_out_pairs"] == 1


def test_places_of_dataset_yaml_are_taken(tmp_path, make_dataset):
    root = make_dataset(tmp_path, places=6)
    places = {
        f"{condition}/c0/{place:03d}.png": f"street{place // 2}"
        for place in range(6)
        for condition in ("reference", "snow", "night")
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump({"places": places}))
    results = prepare(PrepareSettings(dataset=root))
    assert results["places_from"] == "dataset.yaml"
    assert results["places"] == 3
    dataset = Dataset.open(root)
    shown = [{dataset.place(image) for image in dataset.reference_images(side)} for side in ("train", "validation")]
    assert shown[0].isdisjoint(shown[1])
    assert shown[0] | shown[1] == {"street0", "street1", "street2"}


def test_a_validation_target_that_shows_a_training_place_keeps_that_place_out(tmp_path, make_pair):
    for place in range(3):
        make_pair(tmp_path, f"{place}.mat", f"ref/{place}.png", f"snow/{place}.png", seed=place)
    make_pair(tmp_path, "far.mat", "ref/2.png", "snow/1b.png", seed=9)
    places = {f"{condition}/{place}.png": str(place) for place in range(3) for condition in ("ref", "snow")}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"places": {**places, "snow/1b.png": "1"}}))
    results = prepare(PrepareSettings(dataset=tmp_path, split="end"))
    assert read_lines(tmp_path / "corr_val.txt") == ["2.mat", "far.mat"]
    assert read_lines(tmp_path / "corr_train.txt") == ["0.mat"]
    assert results["left_out_pairs"] == 1


def test_one_place_is_for_training(tmp_path, make_dataset, capsys):
    results = prepare(PrepareSettings(dataset=make_dataset(tmp_path, places=1)))
    assert results["validation_pairs"] == 0
    assert "one place only" in capsys.readouterr().err
    assert Dataset.open(tmp_path).pairs("validation") == []


def test_broken_and_empty_files_are_named_and_the_rest_is_prepared(tmp_path, make_dataset, make_pair):
    root = make_dataset(tmp_path, places=4)
    broken = root / "correspondence_data/correspondence_snow_000.mat"
    broken.write_bytes(broken.read_bytes()[:1000])
    (root / "images/night/c0/001.png").rename(root / "images/night/c0/gone.png")
    make_pair(root, "empty.mat", "reference/c0/002.png", "snow/c0/002.png", count=0)
    results = prepare(PrepareSettings(dataset=root))
    assert len(results["failed"]) == 2
    assert "correspondence_night_001.mat" in results["failed"][0]
    assert "night/c0/001.png" in results["failed"][0]
    assert str(broken) in results["failed"][1]
    assert results["empty_pairs"] == 1
    assert results["train_pairs"] + results["validation_pairs"] == 6


def test_what_a_killed_process_left_is_removed(make_dataset, tmp_path):
    root = make_dataset(tmp_path / "data")
    left = root / ".reference_points.h5.1ce3c51ecfa7.part"
    left.write_bytes(b"half")
    prepare(PrepareSettings(dataset=root))
    assert not left.exists()


def test_nothing_usable_writes_nothing(tmp_path, make_dataset):
    root = make_dataset(tmp_path, places=2)
    for path in (root / "correspondence_data").iterdir():
        path.write_bytes(b"")
    with pytest.raises(FgsnError, match=r"no usable correspondence file in .*correspondence_data: "):
        prepare(PrepareSettings(dataset=root))
    assert sorted(path.name for path in root.iterdir()) == ["correspondence_data", "images"]


def test_an_interrupted_run_leaves_no_stale_training_list(tmp_path, make_dataset, monkeypatch):
    root = make_dataset(tmp_path)
    prepare(PrepareSettings(dataset=root))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fgsn.data.prepare.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(PrepareSettings(dataset=root))
    with pytest.raises(FgsnError, match="run fgsn prepare"):
        Dataset.open(root).pairs("train")


@given(st.data())
def test_moved_pairs_leave_the_split_alone_and_keep_out_of_validation_places(data):
    """For any pairs of reference and target images of any places; some moved pairs contain images of no other pair."""
    count = data.draw(st.integers(2, 8))
    conditions = ("reference", "snow")
    pairs = [PairFile(f"{n}.mat", f"reference/{n}", f"snow/{n}", 30) for n in range(count)]
    ends = st.tuples(st.integers(0, count - 1), st.sampled_from(conditions), st.integers(0, count + 1))
    moved = [
        PairFile(f"{here}_{condition}_{there}.mat", f"reference/{here}", f"{condition}/{there}", 30)
        for here, condition, there in data.draw(st.lists(ends, max_size=20))
    ]
    place_of = connected_images(pairs)
    _, held_out = split_places(place_of.values(), data.draw(SHARES), 0)
    training, validation = split_pairs(pairs, place_of.__getitem__, held_out)
    kept = moved_for_training(moved, training, validation, lambda name: place_of.get(name, name))
    seen = {image for pair in validation for image in pair.images}
    assert all(seen.isdisjoint(pair.images) for pair in kept)
    clear = [pair for pair in moved if set(pair.images) <= {i for one in training for i in one.images}]
    assert [pair for pair in kept if pair in clear] == clear
    near = {image for pair in moved if not seen.isdisjoint(pair.images) for image in pair.images}
    strange = {image for pair in kept for image in pair.images} - {image for pair in training for image in pair.images}
    assert strange.isdisjoint(near)


@pytest.mark.parametrize("described", [False, True])
def test_moved_pairs_are_for_training_only(tmp_path, make_dataset, make_pair, described):
    root = make_dataset(tmp_path, places=8)
    if described:
        images = [f"{folder}/c0/{place:03d}.png" for folder in ("reference", "snow", "night") for place in range(8)]
        (root / "dataset.yaml").write_text(yaml.safe_dump({"places": {name: name[-7:-4] for name in images}}))
    before = prepare(PrepareSettings(dataset=root, validation_share=0.3))
    lists = {name: read_lines(root / name) for name in ("corr_train.txt", "corr_val.txt")}
    places = json.loads((root / "places.json").read_text())
    for place in range(7):
        for condition in ("reference", "snow"):
            names = f"reference/c0/{place:03d}.png", f"{condition}/c0/{place + 1:03d}.png"
            make_pair(root, f"moved_{condition}_{place}.mat", *names, seed=50 + place)
    moved = sorted(path.name for path in (root / "correspondence_data").glob("moved_*"))
    (root / "moved_pairs.txt").write_text("\n".join(moved))
    results = prepare(PrepareSettings(dataset=root, validation_share=0.3))
    dataset = Dataset.open(root)
    assert read_lines(root / "corr_val.txt") == lists["corr_val.txt"]
    assert [path.name for path in dataset.pairs("train", moved=False)] == lists["corr_train.txt"]
    assert json.loads((root / "places.json").read_text()) == places
    assert {key: results[key] for key in ("places", "validation_places", "validation_pairs", "places_from")} == {
        key: before[key] for key in ("places", "validation_places", "validation_pairs", "places_from")
    }
    train = read_lines(root / "corr_train.txt")
    assert results["moved_pairs"] == len(set(train) & set(moved)) == len(train) - len(lists["corr_train.txt"]) > 0
    held_out = {dataset.place(read_correspondences(path).reference) for path in dataset.pairs("validation")}
    for path in dataset.pairs("train"):
        pair = read_correspondences(path)
        assert held_out.isdisjoint(map(dataset.place, (pair.reference, pair.target)))
    assert check(CheckSettings(path=root))["problems"] == []


def test_moved_pairs_alone_are_no_data_set(tmp_path, make_pair):
    make_pair(tmp_path, "1.mat", "x/1.png", "y/2.png")
    (tmp_path / "moved_pairs.txt").write_text("1.mat")
    with pytest.raises(FgsnError, match=r"moved_pairs\.txt lists all pairs"):
        prepare(PrepareSettings(dataset=tmp_path))


def test_a_place_that_is_kept_is_for_training():
    for seed in range(20):
        training, validation = split_places("abc", 0.15, seed, "b")
        assert len(validation) == 1
        assert "b" in training
    assert split_places("ab", 0.5, 0, "ab") == split_places("ab", 0.5, 0)
