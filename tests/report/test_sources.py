"""Files of a run or demo that are damaged, or were written by something else."""

import json

import pytest

from fgsn.config import ReportSettings
from fgsn.errors import FgsnError
from fgsn.report.curves import read_charts
from fgsn.report.sources import open_sources


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({"labels": {"fgsn": 3}}, "'labels', 'localization' or 'seconds' is not as fgsn demo"),
        ({"labels": {}, "localization": [1]}, "'labels', 'localization' or 'seconds' is not as fgsn demo"),
        ({"labels": {}, "seconds": {"train": "long"}}, "'labels', 'localization' or 'seconds' is not as fgsn demo"),
        ({"labels": {"fgsn": {"conditions": [1]}}}, "metrics of 'fgsn' under 'labels'"),
        ({"labels": {"fgsn": {}}}, "metrics of 'fgsn' under 'labels'"),
        ({"labels": {}, "localization": {"p3p": {"all": 3}}}, "recall of 'p3p' under 'localization'"),
        ({"labels": {}, "localization": {"p3p": {"all": ["x"]}}}, "recall of 'p3p' under 'localization'"),
        ({"labels": {"grid": {"clusters": 3}}}, "contains no metrics of a model"),
    ],
)
def test_results_of_something_else_are_one_line(tmp_path, results, says):
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(FgsnError, match=rf"results\.json.* {says}"):
        open_sources(ReportSettings(run=tmp_path))


def test_a_name_is_not_a_format(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"labels": {"{0}": {"clusters": 3}}}))
    with pytest.raises(FgsnError, match=r"the data set .* is not a folder"):  # the names were no obstacle
        open_sources(ReportSettings(run=tmp_path))


def test_rows_of_metrics_that_are_something_else_are_passed_over(tmp_path):
    rows = [{"step": 1, "loss": 2, "validation": [1]}, {"step": 2, "loss": "x", "validation": {"kappa": 0.5}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    charts = read_charts({"run": tmp_path / "metrics.jsonl"})
    assert [(chart.name, chart.lines) for chart in charts] == [
        ("loss", {"run": [(1.0, 2.0)]}), ("validation: kappa", {"run": [(2.0, 0.5)]})
    ]  # fmt: skip


def test_the_output_of_stationary_is_named(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"labels": {"0": {"share": 0.5}, "1": {"share": 0.5}}}))
    with pytest.raises(FgsnError, match="was written by fgsn stationary; give the run of fgsn train"):
        open_sources(ReportSettings(run=tmp_path))
