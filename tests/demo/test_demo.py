import json
import os
from pathlib import Path

import pytest

from fgsn.cli import show
from fgsn.config import DemoSettings
from fgsn.demo import demo
from fgsn.inference.model import load

SMALL = demo.Size(4, (96, 72), ("snow", "night"), clusters=5, iterations=2, batch=1, crop=65)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "QUICK", SMALL)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # so no processes are started


@pytest.mark.usefixtures("small")
def test_the_demo_ends_with_metrics_a_model_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    results = demo.demo(DemoSettings(out=tmp_path / "demo", quick=True, seed=3))
    stored = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert list(stored["labels"]) == ["grid", "base", "start", "fgsn_without_corr", "fgsn"]
    assert stored["labels"]["grid"] == stored["labels"]["fgsn"]["controls"]["grid"]
    for metrics in stored["labels"].values():
        assert set(metrics["conditions"]) == {"snow", "night"}
        assert metrics["points"] > 0
    assert results["labels"] == {
        name: {key: row.get(key) for key in demo.SHORT} for name, row in stored["labels"].items()
    }
    show(results | {"report": ""})
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "data:image/" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert load(tmp_path / "demo" / "stationary").stationary is not None
    # A second call finds everything done and returns the same results.
    again = demo.demo(DemoSettings(out=tmp_path / "demo", quick=True, seed=3))
    assert again["labels"]["fgsn"] == results["labels"]["fgsn"]


def test_the_shipped_base_network_fits_the_world() -> None:
    base = load("world:tiny")
    assert base.classes is not None
    assert "vegetation" in base.classes


@pytest.mark.slow
def test_labels_learnt_across_conditions_beat_the_rest(tmp_path: Path) -> None:
    labels = demo.demo(DemoSettings(out=tmp_path / "demo", quick=True, seed=7))["labels"]
    kappa = {name: metrics["kappa_position_controlled"] for name, metrics in labels.items()}
    assert abs(kappa["grid"]) < 0.05
    assert kappa["fgsn"] > max(kappa["base"], kappa["fgsn_without_corr"])
    bits = {name: metrics["information_bits_same_view"] for name, metrics in labels.items()}
    assert bits["grid"] > bits["fgsn"], "the same view is won blindly"
    assert bits["fgsn"] > bits["fgsn_without_corr"]
    assert bits["fgsn"] > 1.5 * bits["base"]
