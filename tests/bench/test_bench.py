"""fgsn bench: every subject reports the times of ours, the baseline and the roofline, and both agree."""

import json

import numpy as np
import pytest
import torch

from fgsn.bench import bench as module
from fgsn.bench import clustering, gsmc, measure, pfsl, segmentation
from fgsn.bench.bench import SUBJECTS, bench
from fgsn.config import BenchSettings
from fgsn.errors import UsageError

SETTINGS = BenchSettings(rounds=1, device="cpu")
CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(segmentation, "QUICK", ("tiny", 65, (120, 80), 2))
    monkeypatch.setattr(measure, "matmul_rate", lambda device, dtype: 2e9)
    monkeypatch.setattr(measure, "copy_rate", lambda device: 1e9)


def test_every_subject_has_its_metrics_and_the_file_contains_them(small, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "machine", lambda settings: {"device": "cpu"})
    out = tmp_path / "bench.json"
    monkeypatch.setattr(clustering, "SIDE", 12)
    subjects = ("segmentation", "assignment", "gsmc", "pfsl")
    results = bench(BenchSettings(subjects=subjects, rounds=1, device="cpu", out=out))
    assert json.loads(out.read_text()) == results
    assert tuple(results["bench"]) == subjects
    for row in results["bench"].values():
        assert {"shapes", "ours_s", "baseline_s", "ratio", "roofline_s", "over_roofline"} <= row.keys()
        assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
        assert row["over_roofline"] == pytest.approx(row["ours_s"] / row["roofline_s"])
    metrics = results["bench"]
    assert metrics["segmentation"]["equal_float32"] >= 0.999
    assert metrics["assignment"]["equal"] > 0.999
    assert metrics["gsmc"]["same_best_tenth"] >= 0.8
    assert metrics["pfsl"]["median_difference"] < 1e-2
    assert metrics["pfsl"]["step_s"] > metrics["pfsl"]["ours_s"]


def test_the_baseline_k_means_gets_as_near_as_ours():
    samples = clustering.blobs(0, 600, 16, 8)
    ours = clustering.kmeans(samples, 8, 20, torch.Generator().manual_seed(0)).objective[-1]
    baseline = clustering.baseline_kmeans(samples.numpy(), samples[:8].numpy().copy(), 20)
    assert baseline == pytest.approx(ours, rel=0.1)


def test_an_unknown_subject_is_one_line():
    with pytest.raises(UsageError, match="unknown subject 'gmsc' in --subjects; did you mean 'gsmc'"):
        bench(BenchSettings(subjects=("gmsc",)))


def test_turns_alternate_after_a_warm_up():
    calls = []
    timed = measure.alternating({name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}, 3, CPU)
    assert "".join(calls) == "ab" * 4
    assert [times.result for times in timed.values()] == [7, 8]


def test_the_roofline_is_the_slower_of_computing_and_moving(small):
    timed = {name: measure.Timed([1.0, 3 * n, 99.0], [], None) for n, name in ((1, "ours"), (2, "baseline"))}
    assert measure.metrics(timed, "", CPU, torch.float32, 4e9, 1e9)["roofline_s"] == 2
    row = measure.metrics(timed, "", CPU, torch.float32, 4e9, 3e9)
    assert (row["roofline_s"], row["over_roofline"], row["ratio"]) == (3, 1, 2)
    assert measure.metrics(timed, "", CPU, torch.float32, 4e9, units=3)["ours_s"] == 1


def test_rates_are_measured():
    assert 1e7 < measure.copy_rate(CPU) < 1e13
    assert 1e7 < measure.matmul_rate(CPU, torch.float32) < 1e14


def test_an_exhaustive_search_looks_at_every_voter_from_every_degree():
    scene, count = gsmc.make_street_scene(0, 12, 200, 0.5, "cpu"), gsmc.VoteCounter.count_votes
    exhaustive, ours = (
        gsmc.votes_evaluated(scene.gsmc(radii=1, angles=angles)) for angles in ((1.0,), (12.0, 3.0, 1.0))
    )
    assert exhaustive % (360 * 200) == 0
    assert 0 < 4 * ours < exhaustive <= 12 * 360 * 200
    assert gsmc.VoteCounter.count_votes is count


def test_operations_of_the_network_are_counted():
    architecture = segmentation.Architecture("tiny", 5, feature_dim=16, aux_dim=8)
    small, large = (segmentation.window_operations(architecture, side) for side in (65, 129))
    assert small >= 2 * 9 * 9 * 16 * 5
    assert 3 < large / small < 4.1


def test_pfsl_scores_are_those_of_the_baseline():
    tracker, shown = pfsl.make_filter(20, 100, 10, CPU)
    tracker.step(pfsl.STILL, shown, pfsl.CAMERA)
    evidence, middle, _ = tracker._likelihood(shown, pfsl.CAMERA)
    rotation = pfsl.rotations.to_matrix(tracker._quaternions)
    ours = evidence.scores(rotation, tracker._centres - middle).numpy()
    apart = np.abs(ours - pfsl.baseline_scores(tracker, evidence, middle))
    assert np.median(apart) < 1e-3


def test_every_subject_can_be_found():
    assert set(SUBJECTS) >= {"segmentation", "clustering", "assignment", "gsmc", "pfsl"}
