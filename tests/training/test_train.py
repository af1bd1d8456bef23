"""The self-supervised loop: what it learns, when it clusters, and that a stopped run goes on with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import fgsn
from fgsn.config import PrepareSettings, TrainSettings
from fgsn.data.dataset import Dataset
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError
from fgsn.evaluation.measure import HEADLINE
from fgsn.files import read_yaml
from fgsn.models.model_file import read_model_file
from fgsn.training import batches
from fgsn.training import train as module
from fgsn.training.train import train

PAPER = {
    "scales": (1.0,), "whitening": "pca", "labels_from": "crop", "zoom": 0.0, "shift": 0.0,
}  # fmt: skip
"""Settings of the published recipe."""
FAST = {
    "clusters": 4, "iterations": 8, "batch": 1, "crop": 65, "features_per_image": 24, "pca_dim": 8, "lr": 0.002,
    "validate_every": 3, "device": "cpu", "rounds": 1, "scales": (1.0,),
}  # fmt: skip


@pytest.fixture
def settings(data, start, tmp_path):
    """Settings of a short training into tmp_path/run, with some of them changed."""
    return lambda **changes: TrainSettings(
        **({"data": (data,), "init": start, "out": tmp_path / "run"} | FAST | changes)
    )


@pytest.fixture
def run(settings):
    """Run a short training, with some settings changed."""
    return lambda **changes: train(settings(**changes))


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def clusterings(folder):
    return [row["step"] for row in rows(folder) if "clustering" in row]


def spy(monkeypatch, name, look):
    """Call `look(result, *arguments)` after every call of a function of the training loop."""
    real = getattr(module, name)

    def called(*arguments, **named):
        result = real(*arguments, **named)
        look(result, *arguments)
        return result

    monkeypatch.setattr(module, name, called)


def test_the_run_folder_holds_what_it_should(run, data, start, tmp_path):
    results = run()
    folder = tmp_path / "run"
    assert json.loads((folder / "results.json").read_text()) == results
    assert results["pairs"] == 6
    assert results["clusters"] == 4
    config = read_yaml(folder / "config.yaml")
    assert (config["clusters"], config["data"], config["init"]) == (4, [str(data)], str(start))
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.safetensors", "best.safetensors"}
    files = {"step0000000.safetensors", "step0000000-labels.safetensors"}
    assert {path.name for path in (folder / "codebooks").iterdir()} == files
    model = fgsn.load(folder)
    assert model.clusters == model.codebook.clusters == 4
    assert model.classes is None
    assert (model.window, model.short_side) == (65, 0)
    assert model.facts["start"] == {"kind": "base network"}
    assert model.facts["validation"] == results["best"]
    assert [row["step"] for row in rows(folder) if "validation" in row] == [3, 6, 8]
    assert not list(folder.rglob("*.part"))


def test_the_loss_falls(run, monkeypatch):
    losses = []
    spy(monkeypatch, "train_step", lambda result, *_: losses.append(result["loss"].item()))
    run(iterations=40, batch=2, validate_every=40, lr=0.003, zoom=0.0, shift=0.0)
    assert len(losses) == 40
    # Four labels to begin with: log 4, from main and auxiliary head, by L_class and twice L_corr.
    assert np.mean(losses[:4]) == pytest.approx(3 * 1.4 * np.log(4), rel=0.15)
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:4])


def test_the_rate_is_set_at_every_step_and_never_zero(run, monkeypatch):
    rates = []

    def look(result, optimiser, step, iterations, power):
        rates.append({group["initial_lr"]: group["lr"] for group in optimiser.param_groups})

    spy(monkeypatch, "set_rate", look)
    run(recluster_every=3, backbone_lr=0.1)
    assert len(rates) == 8
    for step, groups in enumerate(rates):
        # Classifiers and the backbone at a tenth, biases twice as fast.
        assert sorted(groups) == pytest.approx([0.0002, 0.0004, 0.002, 0.004])
        assert all(lr == pytest.approx(initial * (1 - step / 8)) for initial, lr in groups.items())
        assert min(groups.values()) > 0


@pytest.mark.parametrize(
    ("every", "iterations", "expected"),
    [(0, 8, [0]), (3, 8, [0, 3, 6]), (4, 8, [0, 4]), (8, 8, [0]), (1, 3, [0, 1, 2])],
)
def test_clustering_happens_when_it_should_and_not_after_the_last_step(run, tmp_path, every, iterations, expected):
    run(recluster_every=every, iterations=iterations)
    assert clusterings(tmp_path / "run") == expected
    assert len(list((tmp_path / "run" / "codebooks").glob("*[0-9].safetensors"))) == len(expected)


@pytest.mark.parametrize(("rounds", "iterations", "expected"), [(1, 8, [0]), (2, 8, [0, 4]), (3, 8, [0, 2, 4])])
def test_rounds_of_clustering_fill_the_first_half(run, tmp_path, rounds, iterations, expected):
    run(rounds=rounds, iterations=iterations)
    assert clusterings(tmp_path / "run") == expected


def has_momentum(state):
    return "momentum_buffer" in state and bool(state["momentum_buffer"].any())


def test_after_clustering_the_classifiers_are_new_and_have_no_momentum(run, monkeypatch):
    seen = []

    def look(result, model, sets, settings, step, run_, optimiser):
        network = result[0].network
        with_momentum = {name for name, p in network.named_parameters() if has_momentum(optimiser.state[p])}
        assert result[0].codebook is not model.codebook
        assert network.classifier.bias.count_nonzero() == network.aux_classifier.bias.count_nonzero() == 0
        assert network.classifier.weight.std().item() == pytest.approx(0.01, rel=0.5)
        seen.append((with_momentum, network.classifier.weight.clone()))

    spy(monkeypatch, "_cluster", look)
    run(recluster_every=4, gradient="both")
    (before, first), (after, second) = seen
    assert before == set()
    assert any(name.startswith("backbone.") for name in after)
    assert any(name.startswith("head.") for name in after)
    assert not any(name.startswith(("classifier", "aux_classifier")) for name in after)
    assert not torch.equal(first, second)


def test_labels_come_from_the_network_frozen_at_clustering(run, monkeypatch):
    labellers, states = [], []

    def look(result, model, *_):
        labellers.append((result[1], {k: v.clone() for k, v in result[1].model.network.state_dict().items()}))
        states.append({k: v.clone() for k, v in model.network.state_dict().items()})

    spy(monkeypatch, "_cluster", look)
    run(recluster_every=4, **PAPER)
    for labeller, state in labellers:
        after = labeller.model.network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in state.items())
        assert not labeller.model.network.training
    # Between the clusterings the network has learnt, but its batch norms' statistics have stayed.
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert any(name.startswith("backbone.stem") for name in changed)
    assert not any("running" in name for name in changed)


def test_labels_of_whole_images_cost_no_forward_pass(run, monkeypatch):
    batches = []
    spy(monkeypatch, "stacked", lambda result, model, crops: batches.append(len(crops)))
    run(batch=2, iterations=4, validate_every=100)
    assert batches == [4] * 4  # both images of two pairs, and nothing to label


@pytest.mark.parametrize(("gradient", "images"), [("coin", 2), ("both", 4)])
def test_a_coin_learns_from_one_image_of_a_pair_and_both_from_two(run, monkeypatch, gradient, images):
    batches, losses = [], []
    spy(monkeypatch, "stacked", lambda result, model, crops: batches.append(len(crops)))
    spy(monkeypatch, "train_step", lambda result, *_: losses.append(result["loss_class"].item()))
    run(gradient=gradient, batch=2, iterations=10, validate_every=100, zoom=0.0, shift=0.0)
    assert batches == [images] * 10
    # Only reference images have the dense loss; with a coin a batch may hold none.
    assert any(loss == 0 for loss in losses) == (gradient == "coin")
    assert any(loss > 0 for loss in losses)


def test_weights_of_the_losses(run, monkeypatch):
    found = []
    spy(monkeypatch, "train_step", lambda result, *_: found.append({name: v.item() for name, v in result.items()}))
    run(iterations=2, class_weight=2.0, corr_weight=0.5, feature_weight=3.0, validate_every=9)
    for losses in found:
        expected = 2 * losses["loss_class"] + 0.5 * losses["loss_corr"] + 3 * losses["loss_feature"]
        assert losses["loss"] == pytest.approx(expected)
        assert min(losses.values()) > 0


def test_the_best_model_is_that_of_the_best_headline(run, monkeypatch, tmp_path):
    information = iter([0.1, 0.7, 0.4])
    weights = []

    def scripted(model, pairs, settings):
        assert len(pairs) == 2
        weights.append(model.network.classifier.weight.clone())
        return dict.fromkeys(module.VALIDATION_METRICS, 0.0) | {HEADLINE: next(information)}

    monkeypatch.setattr(module, "_validate", scripted)
    results = run()
    assert (results["best"]["step"], results["best"][HEADLINE]) == (6, 0.7)
    assert torch.equal(fgsn.load(tmp_path / "run").network.classifier.weight, weights[1])
    last = read_model_file(tmp_path / "run" / "checkpoints" / "last.safetensors")[0]
    assert torch.equal(last["network.classifier.weight"], weights[2])
    assert not torch.equal(weights[1], weights[2])


def test_validation_draws_nothing_by_chance(run, monkeypatch):
    real, seen = module._validate, []

    def twice(*arguments):
        seen.extend((real(*arguments), real(*arguments)))
        return seen[-1]

    monkeypatch.setattr(module, "_validate", twice)
    run(iterations=4, recluster_every=2)
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]


def test_the_loader_is_started_once(run, monkeypatch):
    started = []
    spy(monkeypatch, "loaded", lambda result, *_: started.append(result))
    run(iterations=9, recluster_every=3)
    assert len(started) == 1


def test_without_validation_pairs_the_last_weights_are_taken(run, make_dataset, tmp_path, capsys):
    root = make_dataset(tmp_path / "set", places=2)
    prepare(PrepareSettings(dataset=root, validation_share=0.0))
    assert run(data=(root,), iterations=4)["best"] == {}
    assert "the data sets have no validation pairs: using the last weights" in capsys.readouterr().err
    last = read_model_file(tmp_path / "run" / "checkpoints" / "last.safetensors")[0]
    assert torch.equal(fgsn.load(tmp_path / "run").network.classifier.weight, last["network.classifier.weight"])


def test_several_data_sets_are_mixed(run, data, make_dataset, tmp_path, monkeypatch):
    other = make_dataset(tmp_path / "other", places=3, conditions=("rain",))
    prepare(PrepareSettings(dataset=other, validation_share=0.3))
    seen = set()
    real = batches.pair_sample
    monkeypatch.setattr(batches, "pair_sample", lambda path, *rest: (seen.add(path), real(path, *rest))[1])
    assert run(data=(data, other), iterations=8)["pairs"] == 8
    assert len(seen) == 8  # each pair once in an epoch
    assert {path.parent.parent for path in seen} == {data, other}


def test_pairs_come_in_another_order_in_every_epoch(settings, data):
    pairs = [(Dataset.open(data), path) for path in Dataset.open(data).pairs("train")]
    epochs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "pair_sample", lambda path, *rest: path.name)
        steps = module._Steps(pairs, settings(iterations=12), 0, [0])
        order = [steps[n][0] for n in range(12)]
        epochs = [order[:6], order[6:]]
        resumed = module._Steps(pairs, settings(iterations=12), 7, [0])
        assert [resumed[n][0] for n in range(len(resumed))] == order[7:]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(path.name for _, path in pairs)
    assert epochs[0] != epochs[1]


def test_more_clusters_than_features(run, tmp_path):
    with pytest.raises(FgsnError, match="73 clusters require at least as many features, but there are 72: use fewer"):
        run(clusters=73)
    run(clusters=72, iterations=1)


def test_more_clusters_than_a_base_network_has_classes(run, tmp_path):
    run(clusters=240, features_per_image=100, iterations=2)
    assert fgsn.load(tmp_path / "run").clusters == 240


def test_a_data_set_that_is_not_prepared_is_told(run, make_dataset, tmp_path):
    with pytest.raises(FgsnError, match="run fgsn prepare"):
        run(data=(make_dataset(tmp_path / "raw", places=1),))


def test_a_loss_that_is_not_finite_is_told(run):
    with pytest.raises(FgsnError, match=r"step 5: .* \(loss nan.* skipped batch 4, .* yet: choose a smaller --lr"):
        run(lr=1e9, iterations=20, validate_every=100)


def test_batches_that_are_not_finite_are_recorded_and_skipped_and_too_many_stop_the_run(run, monkeypatch, tmp_path):
    """The last good checkpoint stays, and a resumed run counts on where the stopped one was."""
    real = module.train_step

    def step(*arguments):
        losses, step = real(*arguments), arguments[-1]
        return losses | {"loss": losses["loss"] * (float("nan") if step in bad else 1.0)}

    monkeypatch.setattr(module, "train_step", step)
    bad = {1, 4}
    run(iterations=6, validate_every=3, out=tmp_path / "some")
    skipped = [row for row in rows(tmp_path / "some") if "skipped" in row]
    assert [row["step"] for row in skipped] == [2, 5]
    assert all("loss nan" in row["skipped"]["losses"] for row in skipped)
    assert all(name.endswith(".mat") for row in skipped for name in row["skipped"]["files"])
    weights = read_model_file(tmp_path / "some" / "checkpoints" / "last.safetensors")[0]
    assert all(torch.isfinite(value).all() for value in weights.values())

    bad = {1, 2, 3, 4, 6, 7}
    with pytest.raises(FgsnError, match="skipped batch 4, the last checkpoint is intact"):
        run(iterations=8, validate_every=3)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.safetensors"
    before = checkpoint.read_bytes()
    assert read_model_file(checkpoint)[1]["step"] == 3
    with pytest.raises(FgsnError, match=r"step 5: .* skipped batch 4"):
        run(iterations=8, validate_every=3, resume=True)
    assert checkpoint.read_bytes() == before


def test_weights_that_are_not_finite_are_never_saved(run, monkeypatch, tmp_path):
    real = module.finite_step

    def broken(network, *rest):
        real(network, *rest)
        with torch.no_grad():
            network.classifier.bias[0] = float("inf")
        return True

    monkeypatch.setattr(module, "finite_step", broken)
    with pytest.raises(FgsnError, match=r"classifier\.bias is not finite at step 3; checkpoint not written"):
        run(validate_every=100, save_every=3)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_in_the_place_of_a_broken_image_comes_another_and_the_run_is_the_same_again(
    run, make_dataset, tmp_path, capsys, workers
):
    root = make_dataset(tmp_path / "set", places=4)
    prepare(PrepareSettings(dataset=root, validation_share=0.25))
    for name in ("snow/c0/000.png", "reference/c0/002.png"):
        (root / "images" / name).write_bytes(b"")
    run(data=(root,), iterations=9, recluster_every=4)
    told = [line for line in capsys.readouterr().err.splitlines() if "000.png" in line]
    assert len(told) == 1
    assert told[0].endswith("used another one instead")
    recorded = [problem for row in rows(tmp_path / "run") for problem in row.get("bad_images", [])]
    assert any("snow/c0/000.png" in problem for problem in recorded)
    assert any("reference/c0/002.png" in problem for problem in recorded)
    run(data=(root,), iterations=9, recluster_every=4, out=tmp_path / "again", workers=workers)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_nothing_but_broken_images_is_told(run, make_dataset, tmp_path):
    root = make_dataset(tmp_path / "set", places=2)
    prepare(PrepareSettings(dataset=root, validation_share=0.0))
    for image in (root / "images" / "snow").rglob("*.png"):
        image.write_bytes(b"")
    for image in (root / "images" / "night").rglob("*.png"):
        image.write_bytes(b"")
    with pytest.raises(FgsnError, match=r"4 samples in a row cannot be read, the last: .*is not an image"):
        run(data=(root,))


def test_two_trainings_do_not_write_into_one_folder(settings):
    wanted = settings(iterations=500)
    process = started(wanted)
    try:
        other = subprocess.run(
            [sys.executable, "-c", "import sys; from pathlib import Path; from fgsn.files import FolderLock; "
             "sys.exit(FolderLock(Path(sys.argv[1])).lock_exclusively())", wanted.out],
            check=False,
        )  # fmt: skip
        assert other.returncode == 0
        with pytest.raises(FgsnError, match=r"another fgsn is writing to .*: wait for it, or choose another folder"):
            train(replace(wanted, resume=True))
    finally:
        process.kill()
        process.communicate()


def test_brain_floats(run, tmp_path):
    run(precision="bfloat16", iterations=3)
    model = fgsn.load(tmp_path / "run")
    assert model.network.classifier.weight.dtype == torch.float32
    assert all(torch.isfinite(value).all() for value in model.network.state_dict().values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_told_in_one_line(run, make_dataset, tmp_path, workers):
    root = make_dataset(tmp_path / "set", places=2)
    prepare(PrepareSettings(dataset=root, validation_share=0.0))
    image = root / "images" / "snow" / "c0" / "000.png"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(FgsnError, match=r"snow/c0/000\.png is broken") as error:
        run(data=(root,), workers=workers, on_bad_image="stop")
    assert "\n" not in str(error.value)


# Resuming. Everything that a run leaves is compared byte by byte; results.json names its own folder.

RESUMABLE = {"iterations": 9, "recluster_every": 4, "validate_every": 3, "batch": 2, "colour_jitter": 0.5}


def left_by(folder):
    """What a run has left, by name; without TensorBoard's events, which hold times."""
    names = ["metrics.jsonl", "model.safetensors", *(f"codebooks/step{n:07d}.safetensors" for n in (0, 4, 8))]
    names += ["checkpoints/best.safetensors", "checkpoints/last.safetensors"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data, start):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(TrainSettings(**(FAST | RESUMABLE), data=(data,), init=start, out=folder))
    return left_by(folder)


def assert_equal(folder, expected):
    found = left_by(folder)
    assert found["metrics.jsonl"].decode() == expected["metrics.jsonl"].decode()
    assert [name for name in expected if found[name] != expected[name]] == []


def interrupt_at(monkeypatch, number, how):
    """Call `how` in the given step of the training."""
    calls = []
    real = module.train_step

    def step(*arguments):
        calls.append(1)
        if len(calls) == number:
            how()
        return real(*arguments)

    monkeypatch.setattr(module, "train_step", step)


def stop_softly():
    os.kill(os.getpid(), signal.SIGTERM)


def crash():
    raise MemoryError


def test_the_same_run_again_gives_the_same_bytes_whatever_the_workers(run, uninterrupted, tmp_path):
    run(**RESUMABLE, workers=2, precision="float32")  # as auto is on a CPU
    assert_equal(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("step", [1, 4, 5, 9])
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(run, uninterrupted, monkeypatch, tmp_path, step):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, stop_softly)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(**RESUMABLE)
    assert stopped.value.args == ("SIGTERM",)
    saved = read_model_file(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]
    assert saved["step"] == step
    assert not (tmp_path / "run" / "model.safetensors").exists()
    run(**RESUMABLE, resume=True, workers=2 if step == 5 else 0)
    assert_equal(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("step", [2, 5, 6])
def test_a_run_that_crashed_goes_on_from_its_checkpoint_with_the_same_bits(
    run, uninterrupted, monkeypatch, tmp_path, step
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, crash)
        with pytest.raises(MemoryError):
            run(**RESUMABLE)
    run(**RESUMABLE, resume=True)
    assert_equal(tmp_path / "run", uninterrupted)


def test_a_run_that_crashed_just_after_clustering_does_not_log_it_twice(run, monkeypatch, tmp_path):
    """A checkpoint right before a clustering is the case in which the log's rows have the checkpoint's own step."""
    changes = {"iterations": 8, "recluster_every": 4, "validate_every": 4}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5, crash)
        with pytest.raises(MemoryError):
            run(**changes)
    assert clusterings(tmp_path / "run") == [0, 4]
    run(**changes, resume=True)
    assert clusterings(tmp_path / "run") == [0, 4]


def test_a_finished_run_may_be_resumed_and_stays_as_it_is(run, tmp_path):
    results = run(iterations=4)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")}
    assert run(iterations=4, resume=True) == results
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")} == before


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(run, tmp_path):
    run(iterations=2)
    with pytest.raises(FgsnError, match="already contains a run: add --resume"):
        run(iterations=2)
    with pytest.raises(FgsnError, match=r"cannot resume .*\(clusters was 4, now 5, lr was 0.002, now 0.5\)"):
        run(iterations=2, clusters=5, lr=0.5, resume=True)
    with pytest.raises(FgsnError, match="contains no run to resume"):
        run(iterations=2, out=tmp_path / "other", resume=True)


def test_seeds_differ(run, tmp_path):
    made = []
    for seed in (0, 1, 0):
        run(seed=seed, iterations=3, out=tmp_path / f"{len(made)}")
        made.append(fgsn.load(tmp_path / f"{len(made)}"))
    one, other, same = made
    assert torch.equal(one.network.classifier.weight, same.network.classifier.weight)
    assert not torch.equal(one.network.classifier.weight, other.network.classifier.weight)
    assert not torch.equal(one.codebook.centroids, other.codebook.centroids)


# A training as a process of its own, and what signals do to it.

PROCESS = {"iterations": 60, "recluster_every": 20, "validate_every": 5, "batch": 1}


def started(settings):
    """A training as a process, once it has written its first checkpoint."""
    values = settings.as_dict()
    flags = [f"--{key.replace('_', '-')}" for key in values]
    given = [str(part) for flag, value in zip(flags, values.values(), strict=True)
             for part in (flag, *(value if isinstance(value, list) else [value]))
             if flag != "--data" and value is not False]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", "from fgsn.cli import main; main()", "train", *given, "--data", *values["data"]],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    limit = time.monotonic() + 60
    while not (settings.out / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def without_a_break(tmp_path_factory, data, start):
    folder = tmp_path_factory.mktemp("process") / "run"
    train(TrainSettings(**(FAST | PROCESS), data=(data,), init=start, out=folder))
    return tree(folder)


def tree(folder):
    files = [*folder.glob("codebooks/*"), *folder.glob("checkpoints/*"), folder / "metrics.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in [*files, folder / "model.safetensors"]}


@pytest.mark.parametrize(
    "kind", [pytest.param("SIGKILL", marks=pytest.mark.slow), "SIGTERM", "SIGINT to all, with workers"]
)
def test_a_killed_process_goes_on_with_the_same_bits(settings, without_a_break, tmp_path, kind):
    wanted = settings(**PROCESS, workers=2 if "workers" in kind else 0)
    process = started(wanted)
    if kind == "SIGKILL":
        process.kill()
    elif kind == "SIGTERM":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == {"SIGKILL": -9, "SIGTERM": 143}.get(kind, 130), told
    assert "Traceback" not in told
    if kind != "SIGKILL":
        assert told.splitlines()[-1].startswith("fgsn: interrupted; finished work is saved: continue with --resume")
    assert not (wanted.out / "model.safetensors").exists()
    train(settings(**PROCESS, resume=True))
    leftovers = {str(path.relative_to(wanted.out)) for path in wanted.out.rglob("*.part")}
    found = {name: data for name, data in tree(wanted.out).items() if name not in leftovers}
    assert found.keys() == without_a_break.keys()
    assert [name for name in found if found[name] != without_a_break[name]] == []


@pytest.mark.parametrize("changes", [{"gradient": "coin"}, {"feature_weight": 0.5}])
def test_parts_of_a_batch_add_up_to_it(run, tmp_path, monkeypatch, changes):
    crops, seen = [], []
    spy(monkeypatch, "stacked", lambda result, model, images: crops.append(len(images)))
    for parts in (1, 4):
        run(batch=4, accumulate=parts, iterations=1, clip=0, out=tmp_path / str(parts), **changes)
        seen.append(read_model_file(tmp_path / str(parts) / "checkpoints" / "last.safetensors")[0])
    images = 2 if "feature_weight" in changes else 1  # of a pair
    assert crops == [4 * images, images, images, images, images]
    gradients = [name for name in seen[0] if name.startswith("momentum.")]
    assert len(gradients) > 50
    for name in gradients:
        assert (seen[1][name] - seen[0][name]).norm() <= 1e-5 * seen[0][name].norm(), name


def test_a_compiled_network_learns_the_same(run, tmp_path, monkeypatch):
    """The compiler itself takes a minute, so it is left out: what is compiled, and that it is then used."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: (compiled.append(network), lambda *args: network(*args))[1])
    for compile_it in (False, True):
        run(iterations=2, compile=compile_it, out=tmp_path / str(compile_it), **PAPER)
    assert len(compiled) == 2  # the one that learns and the frozen one
    one, two = ((tmp_path / str(flag) / "model.safetensors").read_bytes() for flag in (False, True))
    assert one == two


def test_a_long_gradient_is_shortened(run, tmp_path):
    def moved(clip, out):
        run(clip=clip, out=out, weight_decay=0.0)
        tensors, _ = read_model_file(out / "checkpoints" / "last.safetensors")
        frozen, _ = read_model_file(out / "codebooks" / "step0000000.safetensors")
        name = "network.head.last.conv.weight"
        return (tensors[name] - frozen[name]).norm().item()

    # Eight steps of at most lr * clip, each carried on by momentum 0.9 at most tenfold (and a look ahead).
    assert moved(1e-6, tmp_path / "clipped") <= 8 * FAST["lr"] * 1e-6 * 11
    assert moved(0.0, tmp_path / "free") > 8 * FAST["lr"] * 1e-6 * 11
