"""Settings: every field is explained, ranges are checked, values survive YAML."""

import ast
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from fgsn import config
from fgsn.cli import COMMANDS
from fgsn.config import (
    CheckSettings,
    EvaluateSettings,
    PrepareSettings,
    PretrainSettings,
    SegmentSettings,
    Settings,
    StationarySettings,
    TrainSettings,
    WorldSettings,
    from_yaml_values,
)
from fgsn.config.base import flag
from fgsn.errors import UsageError

P = Path("p")
GIVEN = {
    WorldSettings: {"out": P},
    PrepareSettings: {"dataset": P},
    CheckSettings: {"path": P},
    PretrainSettings: {"data": ("camvid:x",), "out": P},
    TrainSettings: {"data": (P,), "init": P, "out": P},
    SegmentSettings: {"model": P, "images": P, "out": P},
    StationarySettings: {"model": P, "data": P, "out": P},
    EvaluateSettings: {"model": P, "data": P, "out": P},
}


def test_every_field_is_declared_once_and_explained_in_one_line():
    """A field's docstring is its help; a field that is declared twice would hide one of them."""
    files = Path(config.__file__).parent.glob("*.py")
    classes = [node for file in files for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
    assert len(classes) >= len(COMMANDS)
    for node in classes:
        names = []
        for field, after in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign):
                names.append(field.target.id)
                explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert explained, f"{node.name}.{names[-1]}"
                assert "\n" not in after.value.value
        assert len(names) == len(set(names)), f"{node.name} declares a field twice"


@pytest.mark.parametrize("settings", GIVEN, ids=lambda kind: kind.__name__)
def test_settings_survive_yaml(settings):
    made = settings(**GIVEN[settings])
    plain = yaml.safe_load(yaml.safe_dump(made.as_dict()))
    assert settings(**from_yaml_values(settings, plain, "x.yaml")) == made


WRONG = [
    (Settings, {"seed": -1}),
    (WorldSettings, {"places": 1}),
    (WorldSettings, {"size": (63, 48)}),
    (WorldSettings, {"size": (1025, 768)}),
    (WorldSettings, {"conditions": ("sun", "fog")}),
    (WorldSettings, {"conditions": ("sun", "sun")}),
    (WorldSettings, {"conditions": ()}),
    (WorldSettings, {"points": 0}),
    (PrepareSettings, {"validation_share": 1.0}),
    (PrepareSettings, {"validation_share": -0.1}),
    (CheckSettings, {"decode": -1}),
    (PretrainSettings, {"data": ()}),
    (PretrainSettings, {"batch": 1}),
    (PretrainSettings, {"short_side": -1}),
    (PretrainSettings, {"validate_every": 0}),
    (PretrainSettings, {"save_every": 0}),
    (PretrainSettings, {"workers": -1}),
    (TrainSettings, {"data": ()}),
    (TrainSettings, {"clusters": 1}),
    (TrainSettings, {"clusters": 65537}),
    (TrainSettings, {"iterations": 0}),
    (TrainSettings, {"recluster_every": -1}),
    (TrainSettings, {"batch": 0}),
    (TrainSettings, {"crop": 384}),
    (TrainSettings, {"crop": 57}),
    (TrainSettings, {"short_side": -1}),
    (TrainSettings, {"corr_weight": -1.0}),
    (TrainSettings, {"corr_weight": 0.0, "class_weight": 0.0}),
    (TrainSettings, {"lr": 0.0}),
    (TrainSettings, {"features_per_image": 1}),
    (TrainSettings, {"pca_dim": 0}),
    (TrainSettings, {"kmeans_iterations": -1}),
    (TrainSettings, {"validate_every": 0}),
    (TrainSettings, {"save_every": 0}),
    (TrainSettings, {"validation_pairs": 0}),
    (TrainSettings, {"workers": -1}),
    (SegmentSettings, {"save": ("labels", "depth")}),
    (SegmentSettings, {"save": ()}),
    (SegmentSettings, {"window": 64}),
    (SegmentSettings, {"window": -7}),
    (SegmentSettings, {"window": 1}),
    (SegmentSettings, {"short_side": -1}),
    (SegmentSettings, {"batch": -1}),
    (StationarySettings, {"threshold": 1.0}),
    (EvaluateSettings, {"resamples": -1}),
]


@pytest.mark.parametrize(("settings", "change"), WRONG, ids=lambda part: getattr(part, "__name__", str(part)))
def test_what_is_out_of_range_is_refused_in_one_line(settings, change):
    settings(**GIVEN.get(settings, {}))
    with pytest.raises(UsageError) as error:
        settings(**(GIVEN.get(settings, {}) | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [65, 97, 257, 713])
def test_crops_of_8_n_plus_1_pixels(side):
    assert TrainSettings(**GIVEN[TrainSettings], crop=side).crop == side


def test_the_edges_of_ranges_are_allowed():
    TrainSettings(**GIVEN[TrainSettings], clusters=2, iterations=1, batch=1, crop=65, features_per_image=2)
    SegmentSettings(**GIVEN[SegmentSettings], short_side=0, window=9, batch=1)
    SegmentSettings(**GIVEN[SegmentSettings], short_side=16)
    with pytest.raises(UsageError, match="--short-side must be at least 16, not 15"):
        SegmentSettings(**GIVEN[SegmentSettings], short_side=15)
    PretrainSettings(**GIVEN[PretrainSettings], batch=2, iterations=1)
    WorldSettings(**GIVEN[WorldSettings], size=(64, 48), places=2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": [64]}, "'size' should be a list of 2, not"),
        ({"size": [64, "a"]}, "'size' should be a whole number, not"),
        ({"conditions": "sun"}, None),
        ({"sise": [1, 2]}, "unknown key 'sise'; did you mean 'size'?"),
        ({3: 4}, "unknown key '3'"),
    ],
)
def test_values_of_a_file_become_those_of_the_fields(value, message):
    if message is None:
        assert from_yaml_values(WorldSettings, value, "f.yaml") == {"conditions": ("sun",)}
        return
    with pytest.raises(UsageError, match=r"^f\.yaml: ") as error:
        from_yaml_values(WorldSettings, value, "f.yaml")
    assert message in str(error.value)


OLD = [(owner, *names) for owner, renamed in config.OLD_NAMES.items() for names in renamed.items()]


@pytest.mark.parametrize(("owner", "old", "new"), OLD)
def test_an_old_name_in_a_file_is_accepted_and_reported(owner, old, new):
    settings = getattr(config, owner)
    names = {field.name for field in fields(settings)}
    assert new in names
    assert old not in names
    default, notices = getattr(settings, new), []
    found = from_yaml_values(settings, {old.replace("_", "-"): default}, "f.yaml", notices.append)
    assert found == {new: default}
    (notice,) = notices
    assert notice.startswith("f.yaml: ")
    assert notice.endswith(f" is now '{new}'; the old name will go in the next version")
    assert from_yaml_values(settings, {old: default}, "f.yaml") == found


def test_a_list_in_a_file_may_have_its_old_form_with_commas():
    notices = []
    for value in ("labels,overlay", ["labels", "overlay"]):
        assert from_yaml_values(SegmentSettings, {"save": value}, "f", notices.append) == {
            "save": ("labels", "overlay")
        }
    assert notices == ["f: 'save' is now a list; the form with commas will go in the next version"]
    with pytest.raises(UsageError, match="'save' should be one of labels, overlay, features, scores, not"):
        from_yaml_values(SegmentSettings, {"save": "labels,depth"}, "f")


def test_settings_know_neither_the_command_line_nor_the_package_that_uses_them():
    for file in Path(config.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        imported |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
        assert {name for name in foreign if not name.startswith(("fgsn.config", "fgsn.errors"))} == set(), file
        called = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert called.isdisjoint({"exists", "is_file", "is_dir", "open", "read_text", "stat", "iterdir"}), file


def test_none_where_a_field_allows_it():
    assert from_yaml_values(SegmentSettings, {"short_side": None}, "f") == {"short_side": None}
    assert from_yaml_values(SegmentSettings, {"short-side": 480}, "f") == {"short_side": 480}
    with pytest.raises(UsageError, match="'short_side' should be a whole number"):
        from_yaml_values(SegmentSettings, {"short_side": "x"}, "f")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_are_finite(number):
    """Every float of every command, alone and in a list: comparisons with NaN are false, so ranges do not find it."""
    tried = 0
    for owner, given in GIVEN.items():
        for one in fields(owner):
            if one.name not in given and "float" in str(one.type):
                value = (float(number),) * 3 if "tuple" in str(one.type) else float(number)
                with pytest.raises(UsageError, match=flag(one.name)):
                    owner(**given, **{one.name: value})
                tried += 1
    assert tried > 20


def test_sides_are_within_reason():
    for change in ({"short_side": 10**9}, {"window": 8 * 10**8 + 1}):
        with pytest.raises(UsageError, match="must be at most 32768"):
            SegmentSettings(model=P, images=P, out=P, **change)
    with pytest.raises(UsageError, match="--crop must be at most 32768"):
        TrainSettings(data=(P,), init=P, out=P, crop=8 * 10**6 + 1)
