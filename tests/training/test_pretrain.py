"""Supervised training of base networks on a tiny CamVid."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import fgsn
from fgsn.config import PrepareSettings, PretrainSettings
from fgsn.data.labelled import CAMVID_CLASSES, CITYSCAPES_CLASSES, IGNORE, VISTAS_CLASSES, open_labelled
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError, UsageError
from fgsn.models.model_file import read_model_file
from fgsn.training import pretrain as module
from fgsn.training.correspondence_term import CorrespondenceTerm
from fgsn.training.pretrain import pretrain, segmentation_metrics


@pytest.fixture(scope="module")
def camvid(tmp_path_factory, write_camvid):
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture
def run(camvid, tmp_path):
    fast = {"iterations": 8, "batch": 2, "crop": 65, "short_side": 0, "lr": 0.05, "validate_every": 3, "device": "cpu"}
    given = {"data": (f"camvid:{camvid}",), "out": tmp_path / "run", "backbone": "tiny"}
    return lambda **changes: pretrain(PretrainSettings(**(given | fast | changes)))


def test_it_learns_three_colours(run, tmp_path):
    results = run(iterations=60, backbone_lr=1.0, validate_every=30)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 3
    # From 1.4 log 11 = 3.4 at random.
    assert losses[-1] < 2.0
    assert results["pixel_accuracy"] > 0.6
    assert [row["step"] for row in rows if "validation" in row] == [30, 60]


def test_the_run_folder_holds_a_base_network(run, camvid, tmp_path):
    results = run(iterations=3)
    model = fgsn.load(tmp_path / "run")
    assert model.classes == CAMVID_CLASSES
    assert model.clusters == 11
    assert model.codebook is None
    assert (model.window, model.short_side) == (65, 0)
    assert model.facts["data"] == ["camvid"]
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert results["images"] == 3
    # The metrics are those of the model that was saved.
    labelled = open_labelled(f"camvid:{camvid}")
    again = segmentation_metrics(model, [(labelled, sample) for sample in labelled.validation])
    assert again["pixel_accuracy"] == pytest.approx(results["pixel_accuracy"])


def test_metrics_of_a_known_prediction(camvid, make_model):
    """Predicting the class of the truth in its upper half, and class 0 below."""
    labelled = open_labelled(f"camvid:{camvid}")
    truth = labelled.read_label(labelled.validation[0])
    guess = np.where(np.arange(72)[:, None] < 40, truth % 11, 0)

    class Oracle:
        classes = CAMVID_CLASSES

        def segment(self, image):
            return guess

    metrics = segmentation_metrics(Oracle(), [(labelled, labelled.validation[0])])
    known = truth != IGNORE
    assert metrics["pixel_accuracy"] == pytest.approx((guess == truth)[known].mean())
    for index, name in enumerate(CAMVID_CLASSES):
        union = ((truth == index) | (guess == index)) & known
        if union.any():
            expected = ((truth == index) & (guess == index) & known).sum() / union.sum()
            assert metrics["iou"][name] == pytest.approx(expected)
        else:
            assert name not in metrics["iou"]
    assert metrics["mean_iou"] == pytest.approx(np.mean(list(metrics["iou"].values())))


def test_crops_and_labels_belong_together(camvid):
    """The label of every cell is the colour of its pixel, whatever scale, mirroring and padding."""
    settings = PretrainSettings(data=("camvid:x",), out=camvid, backbone="tiny", crop=97, short_side=0, batch=2,
                                colour_jitter=0.0)  # fmt: skip
    labelled = open_labelled(f"camvid:{camvid}")
    steps = module._Steps([(labelled, sample) for sample in labelled.training], None, settings, 0)
    matching = []
    for n in range(10):
        crops, labels, pairs, files, problems = steps[n]
        assert len(files) == 2
        assert problems == []
        images = torch.from_numpy(np.stack(crops))
        assert images.shape == (2, 97, 97, 3)
        assert labels.shape == (2, 13, 13)
        assert pairs == []
        seen = images[:, ::8, ::8].argmax(dim=3)
        known = labels != IGNORE
        matching.append((seen == labels)[known].float().mean())
        padding = (images[:, ::8, ::8] == 127).all(dim=3)
        assert (labels[padding] == IGNORE).all()
    assert min(matching) > 0.9


@pytest.mark.parametrize(("step", "workers"), [(2, 0), (5, 2)])
def test_a_stopped_run_goes_on_with_the_same_bits(run, monkeypatch, tmp_path, step, workers):
    run(out=tmp_path / "whole")
    calls = []
    real = module._losses

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_losses", stopping)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert read_model_file(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]["step"] == step
    run(resume=True, workers=workers)
    for name in ("model.safetensors", "checkpoints/last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_broken_image_is_replaced_and_a_batch_without_a_loss_skipped(run, write_camvid, monkeypatch, tmp_path):
    root = write_camvid(tmp_path / "camvid")
    (root / "images" / "1.png").write_bytes(b"")
    real = module._losses

    def losses(model, batch, across, settings, step):
        found = real(model, batch, across, settings, step)
        return found if step != 2 else {"loss": found["loss"] * float("nan")}

    monkeypatch.setattr(module, "_losses", losses)
    run(data=(f"camvid:{root}",), iterations=4)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("images/1.png is not an image" in problem for row in rows for problem in row.get("bad_images", []))
    (skipped,) = (row for row in rows if "skipped" in row)
    assert skipped["step"] == 3
    assert len(skipped["skipped"]["files"]) == 2
    with pytest.raises(FgsnError, match=r"images/1\.png is not an image"):
        run(data=(f"camvid:{root}",), out=tmp_path / "stop", on_bad_image="stop")


def test_seeds_differ(run, tmp_path):
    weights = []
    for n, seed in enumerate((0, 1, 0)):
        run(seed=seed, iterations=1, out=tmp_path / str(n))
        weights.append(fgsn.load(tmp_path / str(n)).network.backbone.stem.conv.weight)
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


def test_sets_of_different_classes_are_refused(run, camvid, make_image, tmp_path):
    root = tmp_path / "world"
    for split in ("training", "validation"):
        make_image(root / "segmented_images" / split / "imgs" / "a.png")
        (root / "segmented_images" / split / "annos").mkdir(parents=True)
        Image.fromarray(np.full((48, 64), 7, np.uint8)).save(root / "segmented_images" / split / "annos" / "a.png")
    with pytest.raises(FgsnError, match="camvid and world have different classes and cannot be trained together"):
        run(data=(f"camvid:{camvid}", f"world:{root}"))
    run(data=(f"world:{root}", f"world:{root}"), iterations=1)


def test_what_cannot_be_is_told(run):
    with pytest.raises(FgsnError, match="--weights imagenet works with --backbone lite only"):
        run(weights="imagenet")
    with pytest.raises(UsageError, match="unknown backbone 'tinny'; did you mean 'tiny'"):
        run(backbone="tinny")
    with pytest.raises(FgsnError, match=r"step 5: .* not finite .* skipped batch 4, .*: choose a smaller --lr"):
        run(lr=1e12, iterations=20, validate_every=100)


def test_one_image_per_step_is_refused():
    """The pyramid's smallest bin has one value per image: batch norm cannot learn from one image."""
    with pytest.raises(UsageError, match="--batch must be at least 2"):
        PretrainSettings(data=("camvid:x",), out="x", batch=1)


@pytest.fixture
def across(make_dataset, tmp_path):
    """A prepared data set of pairs."""
    root = make_dataset(tmp_path / "pairs", places=3)
    prepare(PrepareSettings(dataset=root, validation_share=0.0))
    return root


@pytest.mark.parametrize("loss", ["class", "hingeC", "hingeF"])
def test_correspondences_are_learnt_from_beside_labels(run, across, tmp_path, monkeypatch, loss):
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    results = run(iterations=2, corr_data=(across,), corr_loss=loss, corr_batch=3)
    assert results["pairs"] == 6
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    weight = {"class": 1.0, "hingeC": 1.0, "hingeF": 0.1}[loss]
    for row in rows:
        if "loss" in row:
            assert row["loss_corr"] > 0
            assert row["loss"] == pytest.approx(row["loss_labels"] + weight * row["loss_corr"], rel=1e-5)
    assert fgsn.load(tmp_path / "run").facts["correspondences"] == ["pairs"]


def term_of(across, classes=CAMVID_CLASSES, **changes):
    return CorrespondenceTerm.of(PretrainSettings(data=("camvid:x",), out="x", corr_data=(across,), **changes), classes)


def test_classes_that_move_are_left_out(across):
    assert [CAMVID_CLASSES[n] for n in term_of(across).ignored] == ["car", "pedestrian", "bicyclist"]
    # Larsson et al., CVPR 2019: the dynamic classes 11 to 18 of Cityscapes.
    assert term_of(across, CITYSCAPES_CLASSES).ignored == list(range(11, 19))
    moving = {VISTAS_CLASSES[n] for n in term_of(across, VISTAS_CLASSES).ignored}
    assert {"Bird", "Other Rider", "Car", "Ego Vehicle"} < moving
    assert moving.isdisjoint({"Building", "Sky", "Trash Can", "Traffic Sign (Back)"})
    assert term_of(across, corr_ignore=("sky",)).ignored == [0]
    assert term_of(across, corr_ignore=()).ignored == []
    with pytest.raises(UsageError, match="there is no class 'cars'; did you mean 'car'"):
        term_of(across, corr_ignore=("cars",))


def test_the_pairs_of_a_step_depend_on_nothing_but_seed_and_step(across):
    one, other = term_of(across), term_of(across)
    other.samples(0)
    for a, b in zip(one.samples(3), other.samples(3), strict=True):
        np.testing.assert_array_equal(a.target, b.target)
    seen = [sample.target.tobytes() for step in range(3) for sample in term_of(across, colour_jitter=0.0).samples(step)]
    assert len(seen) == len(set(seen)) == 6  # an epoch shows every pair once


def test_a_start_network_keeps_its_batch_norms_and_its_normalisation(run, camvid, tmp_path):
    run(iterations=4, out=tmp_path / "base")
    base = fgsn.load(tmp_path / "base")
    run(init=tmp_path / "base", iterations=2, batch=1)
    model = fgsn.load(tmp_path / "run")
    assert model.normalisation == base.normalisation
    before, after = (dict(loaded.network.state_dict()) for loaded in (base, model))
    norms = [name for name in before if "running_mean" in name]
    assert norms
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


def test_other_classes_are_learnt_anew(run, make_model, tmp_path):
    make_model(classes=4).save(tmp_path / "four.safetensors")
    run(init=tmp_path / "four.safetensors", iterations=1, batch=1)
    assert fgsn.load(tmp_path / "run").classes == CAMVID_CLASSES


def test_a_data_set_that_is_not_prepared_is_told(run, make_dataset, tmp_path):
    with pytest.raises(FgsnError, match="fgsn prepare"):
        run(corr_data=(make_dataset(tmp_path / "raw"),))
    with pytest.raises(UsageError, match="--init and --weights"):
        PretrainSettings(data=("camvid:x",), out="x", init="y", weights="imagenet")
