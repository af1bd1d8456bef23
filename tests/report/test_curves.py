import json

import numpy as np
import pytest

from fgsn.report.curves import clusterings, draw, read_charts, read_metrics, thinned, ticks


@pytest.fixture
def metrics(street_run):
    return street_run / "run" / "metrics.jsonl"


def test_charts_leave_out_what_is_no_number(metrics):
    charts = {chart.name: chart for chart in read_charts({"run": metrics})}
    assert list(charts) == [
        "loss", "loss_class", "loss_corr", "validation: kappa_position_controlled", "validation: kappa",
    ]  # fmt: skip
    assert charts["validation: kappa"].lines["run"] == [(0, 0.4), (250, 0.4), (500, 0.4)]
    assert len(charts["loss"].lines["run"]) <= 160
    assert [row["step"] for row in read_metrics(metrics)][-1] == 501


def test_clusterings_are_marked(metrics, tmp_path):
    (tmp_path / "other.jsonl").write_text(json.dumps({"step": 100, "clustering": {}}))
    assert clusterings({"run": metrics, "other": tmp_path / "other.jsonl"}) == [0, 100, 250]
    chart = read_charts({"run": metrics})[0]
    assert draw(chart, ["run"], [0, 250, 9999]).count('class="mark"') == 2


def test_runs_differ_in_more_than_colour(metrics):
    chart = read_charts({"a": metrics, "b": metrics})[0]
    ends = [part.partition('"/>')[0] for part in draw(chart, ["a", "b"]).split('<path class="end ')[1:]]
    shapes = [end.partition(' d="')[2].split(" ", 1)[1].split("m", 1)[1] for end in ends]
    assert len(set(shapes)) == 2


def test_every_validation_has_a_marker(metrics):
    charts = {chart.name: chart for chart in read_charts({"run": metrics})}
    markers = {
        name: draw(chart, ["run"]).partition('class="end series-0" d="')[2].partition('"')[0].count("M")
        for name, chart in charts.items()
    }
    assert markers["validation: kappa"] == 3
    assert markers["loss"] == 1


def test_thinning_keeps_the_mean_and_short_lines():
    line = [(float(n), float(n % 7)) for n in range(1000)]
    thin = thinned(line, 50)
    assert len(thin) == 50
    assert np.mean([value for _, value in thin]) == pytest.approx(np.mean([value for _, value in line]))
    assert thinned(line[:9], 50) == line[:9]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.013, 0.9), (-3, 4), (5, 5), (0, 0), (0.4, 0.4), (0, 60000), (1e-6, 2e-6)]
)
def test_ticks_span_the_range_with_round_numbers(low, high):
    marks = ticks(low, high, 4)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9
