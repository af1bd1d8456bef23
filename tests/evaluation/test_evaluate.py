"""evaluate and stationary, end to end, with a tiny network on a tiny data set."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score, normalized_mutual_info_score

from fgsn.cli import main
from fgsn.config import EvaluateSettings, SegmentSettings, StationarySettings
from fgsn.data.correspondences import write_correspondences
from fgsn.data.labelled import CITYSCAPES_CLASSES, CITYSCAPES_IDS
from fgsn.errors import FgsnError, UsageError
from fgsn.evaluation.evaluate import evaluate
from fgsn.evaluation.stationary import stationary, stationary_threshold
from fgsn.files import read_json, read_yaml, write_text, write_yaml
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import Model, load
from fgsn.inference.segment import segment
from fgsn.models.normalisation import Normalisation
from fgsn.models.pspnet import Architecture, PSPNet

WIDTH, HEIGHT = 72, 66
CONDITIONS = ("snow", "night")


def make_dataset(root, places=5):
    """Every place is photographed three times; snow is the reference with noise, night is noise alone."""
    rng = np.random.default_rng(0)
    place_of, files = {}, []
    for place in range(places):
        reference = np.kron(rng.integers(0, 256, (9, 9, 3)), np.ones((8, 8, 1)))[:HEIGHT, :WIDTH]
        pictures = {
            "reference": reference,
            "snow": np.clip(reference + rng.normal(0, 2, reference.shape), 0, 255),
            "night": rng.integers(0, 256, reference.shape),
        }
        for condition, pixels in pictures.items():
            path = root / "images" / condition / "cam" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            place_of[f"{condition}/cam/{place}.png"] = f"place {place}"
        for condition in CONDITIONS:
            points = rng.uniform([0, 0], [WIDTH - 1, HEIGHT - 1], (80, 2))
            file = root / "correspondence_data" / f"{condition}_{place}.mat"
            names = f"reference/cam/{place}.png", f"{condition}/cam/{place}.png"
            write_correspondences(file, *names, points, points, np.zeros(80))
            files.append(file.name)
    write_yaml(root / "dataset.yaml", {"places": place_of})
    write_text(root / "corr_val.txt", "\n".join(files))
    write_text(root / "corr_train.txt", "")
    return root


def make_model(path, clusters=6, seed=0, **changes):
    torch.manual_seed(seed)
    network = PSPNet(Architecture("tiny", clusters, feature_dim=16, aux_dim=8)).eval()
    for module in network.modules():  # with fresh norms features are nearly constant, and labels a matter of rounding
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.05, 0.2)
    with torch.no_grad():  # labels of about equal frequency
        blocks = torch.rand(1, 3, 9, 9).repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :65, :65]
        features = network(4 * blocks - 2).features.flatten(2)[0]
        network.classifier.weight.normal_(0, 1).div_(features.std(1)[:, None, None])
        network.classifier.bias.copy_(-network.classifier.weight[..., 0, 0] @ features.mean(1))
    normalisation = Normalisation("rgb", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    model = Model(network, normalisation, short_side=0, window=65, facts={"seed": seed})
    replace(model, **changes).save(path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return make_dataset(folder / "data"), make_model(folder / "model.safetensors")


def settings(world, out, **changes):
    return EvaluateSettings(data=world[0], model=world[1], out=out, device="cpu", **{"resamples": 5, **changes})


def test_evaluate_measures_every_condition_and_writes_everything(world, tmp_path):
    results = evaluate(settings(world, tmp_path / "out"))
    assert results["points"] == 800
    assert results["pairs"] == 10
    assert results["places"] == 5
    assert set(results["conditions"]) == {"snow", "night"}
    assert results["clusters_used"] > 3
    assert results["conditions"]["snow"]["kappa"] > 0.6 > results["conditions"]["night"]["kappa"]
    assert results["information_bits_same_view_interval"] is not None
    assert results["failed"] == []
    assert "same image position" in results["note"], "800 points in small images are too few"
    assert results["controls"]["grid"]["clusters"] == results["clusters"]
    assert results["controls"]["grid"]["agreement"] == 1, "the camera stands still, so a blind grid always agrees"
    assert 0 < results["kappa_crop"] <= 1
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(json.dumps(results))
    assert read_yaml(tmp_path / "out" / "config.yaml")["split"] == "validation"
    labels, clusters = read_label_map(tmp_path / "out" / "labels" / "snow" / "cam" / "3.png")
    assert (clusters, labels.shape) == (6, (HEIGHT, WIDTH))


def test_a_base_network_is_measured_alike(world, tmp_path):
    model = make_model(tmp_path / "base.safetensors", classes=("road", "sky", "tree", "car", "wall", "pole"))
    assert evaluate(settings((world[0], model), tmp_path / "out"))["points"] == 800


def test_label_maps_are_made_once_and_never_taken_from_another_model(world, tmp_path):
    out = tmp_path / "out"
    first = evaluate(settings(world, out))
    stored = out / "labels" / "snow" / "cam" / "0.png"
    made = stored.stat().st_mtime_ns
    assert evaluate(settings(world, out)) == first
    assert stored.stat().st_mtime_ns == made
    other = make_model(tmp_path / "other.safetensors", clusters=9, seed=1)
    assert evaluate(settings((world[0], other), out))["clusters"] == 9
    assert read_label_map(stored)[1] == 9


@pytest.mark.parametrize("command", ["evaluate", "stationary"])
def test_two_at_once_in_one_folder_are_refused(world, tmp_path, at_work, capsys, command):
    words = [command, "--data", world[0], "--model", world[1], "--out", tmp_path / "out", "--device", "cpu"]
    with at_work(tmp_path / "out"), pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"fgsn: another fgsn is writing to {tmp_path / 'out'}: wait for it, or choose another folder"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_changed_image_is_segmented_again(tmp_path):
    data, model = make_dataset(tmp_path / "data", places=1), make_model(tmp_path / "model.safetensors")
    evaluate(settings((data, model), tmp_path / "out"))
    stored = tmp_path / "out" / "labels" / "snow" / "cam" / "0.png"
    before = stored.stat().st_mtime_ns
    later = time.time() + 60
    os.utime(data / "images" / "snow" / "cam" / "0.png", (later, later))
    evaluate(settings((data, model), tmp_path / "out"))
    assert stored.stat().st_mtime_ns != before


def test_label_maps_of_unknown_origin_are_refused(world, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.png").write_text("precious")
    with pytest.raises(FgsnError, match="unknown origin"):
        evaluate(settings(world, tmp_path))
    assert (tmp_path / "labels" / "mine.png").read_text() == "precious"


def test_a_broken_image_is_named_and_its_pairs_left_out(tmp_path):
    data, model = make_dataset(tmp_path / "data"), make_model(tmp_path / "model.safetensors")
    broken = data / "images" / "night" / "cam" / "2.png"
    broken.write_bytes(broken.read_bytes()[:600])
    results = evaluate(settings((data, model), tmp_path / "out"))
    assert results["pairs"] == 9
    assert len(results["failed"]) == 1
    assert str(broken) in results["failed"][0]


def test_one_place_has_no_interval_and_says_so(tmp_path):
    data, model = make_dataset(tmp_path / "data", places=1), make_model(tmp_path / "model.safetensors")
    results = evaluate(settings((data, model), tmp_path / "out"))
    assert results["kappa_position_controlled"] is None
    assert "in another place" in results["note"]


def test_an_empty_split_is_an_error(world, tmp_path):
    with pytest.raises(FgsnError, match="no pairs in the split 'train'"):
        evaluate(settings(world, tmp_path, split="train"))


def annotate(root, split, place):
    """An annotated image: a picture of snow with Cityscapes labelIds that follow its brightness."""
    folder = root / "segmented_images" / split
    for kind in ("imgs", "annos"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    with Image.open(root / "images" / "snow" / "cam" / f"{place}.png") as picture:
        picture.save(folder / "imgs" / f"{place}.png")
        classes = np.array([0, 7, 11, 23, 26], np.uint8)[np.asarray(picture.convert("L")).astype(int) * 5 // 256]
    Image.fromarray(classes).save(folder / "annos" / f"{place}.png")
    return classes


def test_semantic_classes_are_compared_where_there_are_any(tmp_path):
    data, model = make_dataset(tmp_path / "data", places=2), make_model(tmp_path / "model.safetensors")
    assert "semantic_nmi" not in evaluate(settings((data, model), tmp_path / "before"))
    annotate(data, "training", 0)
    assert "semantic_nmi" not in evaluate(settings((data, model), tmp_path / "training"))
    classes = np.stack([annotate(data, "testing", place) for place in range(2)])
    results = evaluate(settings((data, model), tmp_path / "after"))
    labels = np.stack([read_label_map(tmp_path / f"after/labels/snow/cam/{place}.png")[0] for place in range(2)])
    known = classes > 0
    assert results["semantic_nmi"] == pytest.approx(normalized_mutual_info_score(labels[known], classes[known]))
    assert results["semantic_images"] == 2
    assert "mean_iou" not in results
    annotate(data, "validation", 1)  # comes first
    assert evaluate(settings((data, model), tmp_path / "after"))["semantic_images"] == 1


@pytest.mark.parametrize("lanes", [False, True])
def test_a_base_network_has_its_mean_iou_on_annotated_images(tmp_path, lanes):
    data, names = make_dataset(tmp_path / "data", places=2), (*CITYSCAPES_CLASSES, "lane marking")[: 19 + lanes]
    model = make_model(tmp_path / "base.safetensors", clusters=19 + lanes, classes=names)
    classes = np.stack([annotate(data, "validation", place) for place in range(2)])
    results = evaluate(settings((data, model), tmp_path / "out"))
    labels = np.stack([read_label_map(tmp_path / f"out/labels/snow/cam/{place}.png")[0] for place in range(2)])
    labels[labels == 19] = 0  # lane markings are road
    known = classes > 0
    truth = np.searchsorted(CITYSCAPES_IDS, classes[known])
    seen = np.unique(truth)
    wanted = jaccard_score(truth, labels[known], labels=seen, average=None)
    assert results["iou"] == pytest.approx(
        {CITYSCAPES_CLASSES[index]: score for index, score in zip(seen, wanted, strict=True)}
    )
    assert results["pixel_accuracy"] == pytest.approx(accuracy_score(truth, labels[known]))
    assert results["mean_iou"] == pytest.approx(np.mean(wanted))


def test_annotated_images_that_are_broken_or_half_there(tmp_path):
    data, model = make_dataset(tmp_path / "data", places=2), make_model(tmp_path / "model.safetensors")
    for place in range(2):
        annotate(data, "validation", place)
    broken = data / "segmented_images/validation/annos/0.png"
    Image.fromarray(np.full((3, 3), 7, np.uint8)).save(broken)
    results = evaluate(settings((data, model), tmp_path / "out"))
    assert results["semantic_images"] == 1
    assert f"{broken} is 3 x 3, but its image is" in results["failed"][0]
    broken.unlink()
    with pytest.raises(FgsnError, match="annos: 1 of 2 label maps are missing"):
        evaluate(settings((data, model), tmp_path / "out"))


def test_stationary_clusters_are_stored_with_the_model(world, tmp_path):
    out = tmp_path / "out"
    results = stationary(StationarySettings(data=world[0], model=world[1], out=out, device="cpu", threshold=0.02))
    stored = load(out / "model.safetensors", "cpu")
    assert stored.stationary is not None
    assert sum(stored.stationary) == results["stationary"]
    assert stored.facts == {"seed": 0}
    table = read_json(out / "results.json")["labels"]
    assert sum(row["pixels"] for row in table.values()) == 5 * WIDTH * HEIGHT
    for label, row in enumerate(table.values()):
        assert row["stationary"] == stored.stationary[label] == (row["share"] > 0.02)
        assert row["share"] == pytest.approx(row["with_correspondence"] / max(row["pixels"], 1))
    assert load(world[1], "cpu").stationary is None
    assert not (out / "labels" / "snow").exists()


def test_sparse_correspondences_have_a_threshold_of_their_own(world, tmp_path):
    results = stationary(StationarySettings(data=world[0], model=world[1], out=tmp_path / "out", device="cpu"))
    table = read_json(tmp_path / "out" / "results.json")["labels"].values()
    density = sum(row["with_correspondence"] for row in table) / sum(row["pixels"] for row in table)
    assert results["threshold"] == min(0.01, density / 2)
    assert stationary_threshold(np.array([10000, 90000]), np.array([90, 10])) == 0.0005
    assert stationary_threshold(np.array([100, 900]), np.array([20, 10])) == 0.01


def test_a_threshold_that_no_cluster_reaches_is_refused(world, tmp_path):
    with pytest.raises(FgsnError, match=r"no cluster has more than 0\.9 of its pixels .* smaller --threshold"):
        stationary(StationarySettings(data=world[0], model=world[1], out=tmp_path, device="cpu", threshold=0.9))
    assert not (tmp_path / "model.safetensors").exists()


def test_the_threshold_is_a_share(world, tmp_path):
    with pytest.raises(UsageError, match="threshold"):
        StationarySettings(data=world[0], model=world[1], out=tmp_path, threshold=1.0)


def test_segment_and_evaluate_never_take_label_maps_of_each_others_models(world, tmp_path):
    data, model = world
    other = make_model(tmp_path / "other.safetensors", clusters=9, seed=1)

    def segmented(model):
        images, out = data / "images", tmp_path / "out"
        return segment(SegmentSettings(model=model, images=images, out=out, precision="float32", device="cpu"))

    evaluate(settings(world, tmp_path / "out"))
    with pytest.raises(FgsnError, match="contains label maps of another model"):
        segmented(other)
    assert segmented(model)["already_there"] > 0
    with pytest.raises(FgsnError, match="contains label maps of another model: choose another --out, or delete"):
        evaluate(settings((data, other), tmp_path / "out"))
