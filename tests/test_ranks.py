"""Two processes that share a job give what one gives alone."""

import json
import multiprocessing
import socket

import numpy as np
import pytest

from fgsn import ranks
from fgsn.cli import main
from fgsn.config import PrepareSettings
from fgsn.data.prepare import prepare
from fgsn.models.model_file import read_model_file
from shared_job import work, work_as


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, make_dataset, make_model):
    """What one process and what two have made."""
    root = tmp_path_factory.mktemp("ranks")
    data = make_dataset(root / "set", places=4)
    prepare(PrepareSettings(dataset=data, validation_share=0.25))
    start = root / "start.safetensors"
    make_model().save(start)
    folders = [root / "one", root / "two"]
    for folder in folders:
        folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked from a process that has imported what they need: a new interpreter takes longer than the work.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["shared_job"])
    processes = [server.Process(target=work_as, args=(rank, port, folders[1], data, start)) for rank in (0, 1)]
    try:
        for process in processes:
            process.start()
        work(folders[0], data, start)
    finally:
        for process in processes:
            process.join(60)
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    return folders


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_clusters_are_the_same_bits(jobs):
    one, two = (np.load(folder / "clusters.npz") for folder in jobs)
    for name in one.files:
        assert one[name].tobytes() == two[name].tobytes(), name
    assert (one["counts"] == 0).sum() == 0


@pytest.mark.parametrize("name", ["step", "parts"])
def test_a_gradient_is_the_same_to_rounding(jobs, name):
    one, two = (read_model_file(folder / name / "checkpoints" / "last.safetensors")[0] for folder in jobs)
    gradients = [key for key in one if key.startswith("momentum.")]
    assert len(gradients) > 50
    for key in gradients:
        assert (one[key] - two[key]).norm() <= 1e-5 * one[key].norm(), key
    assert [row["loss"] for row in rows(jobs[0] / name) if "loss" in row] == pytest.approx(
        [row["loss"] for row in rows(jobs[1] / name) if "loss" in row], rel=1e-5
    )


def test_a_training_takes_the_same_way(jobs):
    """Rounding grows with every step, where a unit of the network is just on or just off."""
    one, two = (rows(folder / "coin") for folder in jobs)
    assert [row.keys() for row in one] == [row.keys() for row in two]
    assert one[-2]["step"] == 5
    for key in ("loss", "loss_class", "loss_corr", "lr"):
        assert one[-2][key] == pytest.approx(two[-2][key], rel=1e-3), key


def test_the_first_clustering_of_a_training_is_the_same_bits(jobs):
    one, two = ((folder / "coin" / "codebooks" / "step0000000.safetensors").read_bytes() for folder in jobs)
    assert one == two


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stopped_training_goes_on_with_the_same_bits(jobs, processes):
    whole, resumed = (jobs[processes - 1] / name for name in ("coin", "resumed"))
    for name in ("metrics.jsonl", "model.safetensors", "checkpoints/last.safetensors"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name


def test_label_maps_are_shared_out(jobs):
    found = [sorted(path.relative_to(folder) for path in (folder / "labels").rglob("*.png")) for folder in jobs]
    assert found[0] == found[1]
    results = [json.loads((folder / "labels" / "results.json").read_text()) for folder in jobs]
    assert [result["segmented"] for result in results] == [len(found[0])] * 2
    assert not results[0]["failed"]
    assert not list(jobs[1].rglob("*.part"))


def test_the_batch_must_be_dealt_out_evenly(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ranks, "started", lambda: 3)
    monkeypatch.setattr(ranks, "_inside", True)
    monkeypatch.setenv("RANK", "0")
    flags = ["--data", ".", "--init", ".", "--out", str(tmp_path), "--batch", "4", "--accumulate", "2"]
    with pytest.raises(SystemExit) as end:
        main(["train", *flags])
    assert end.value.code == 2
    assert "--batch 4 does not divide into 3 processes of 2 micro-batches each" in capsys.readouterr().err


def test_commands_that_work_alone_say_so(monkeypatch, capsys):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        main(["info", "x"])
    assert end.value.code == 2
    assert "fgsn info runs in one process: start it without torchrun" in capsys.readouterr().err


def test_alone_there_is_nothing_to_share():
    assert (ranks.world(), ranks.rank(), ranks.first()) == (1, 0, True)
    assert ranks.share([1, 2, 3]) == [1, 2, 3]
    assert ranks.gathered("x") == ["x"]
