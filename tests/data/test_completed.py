"""A data set that is there already: finished, begun, other, or something else."""

import pytest

from fgsn.data.completed import completed_results
from fgsn.errors import FgsnError
from fgsn.files import write_text, write_yaml


def test_what_is_not_there_or_begun_is_to_be_made(tmp_path):
    assert completed_results(tmp_path / "none", {"a": 1}, "world") is None
    write_yaml(tmp_path / "begun" / "config.yaml", {"a": 1, "out": "elsewhere"})
    assert completed_results(tmp_path / "begun", {"a": 1}, "world") is None


def test_what_is_finished_is_given_back(tmp_path):
    write_yaml(tmp_path / "dataset.yaml", {"made_with": {"a": 1}, "results": {"pairs": 3}})
    assert completed_results(tmp_path, {"a": 1}, "world") == {"pairs": 3}


@pytest.mark.parametrize("name", ["dataset.yaml", "config.yaml"])
def test_other_settings_are_named(tmp_path, name):
    write_yaml(tmp_path / name, {"made_with": {"a": 1}, "results": {}} if name == "dataset.yaml" else {"a": 1})
    with pytest.raises(FgsnError, match="that was made, or begun, with other settings \\(a 1, now 2\\)"):
        completed_results(tmp_path, {"a": 2}, "world")


def test_something_else_is_left_alone(tmp_path):
    write_text(tmp_path / "mine.txt", "precious")
    with pytest.raises(FgsnError, match="is not empty and does not contain a world"):
        completed_results(tmp_path, {}, "world")
    with pytest.raises(FgsnError, match="is a file"):
        completed_results(tmp_path / "mine.txt", {}, "world")
