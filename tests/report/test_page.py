import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from fgsn.cli import main
from fgsn.config import ReportSettings
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.inference.label_maps import write_label_map
from fgsn.report import page
from fgsn.report.page import about, number, percent, report, rows_with_controls
from fgsn.report.sources import open_sources

PARTS = ["metrics", "charts", "distances", "places", "clusters", "confusion", "recall", "view", "matches"]
VOID = ("meta", "img", "br", "link", "input")


class Page(HTMLParser):
    """Collects what a page shows, and checks that its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tags, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_contains_everything_and_fetches_nothing(street_run, tmp_path):
    out = tmp_path / "page.html"
    results = report(ReportSettings(run=street_run / "run", labels=street_run / "labels", out=out))
    assert results["parts"] == PARTS
    assert results["left_out"] == []
    text = out.read_text(encoding="utf-8")
    assert results["megabytes"] == pytest.approx(len(text) / 1e6, rel=0.01)
    page = Page(text)
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?://|url\(|@import|<script src|fetch\(|import\(", text)
    words = "".join(page.words)
    for expected in (
        "30 labels",
        "5 places not used in training",
        "Position-controlled",
        "blind grid of 30 cells",
        "One place from three distances",
        "snow",
        "SSMC, fine-grained",
        "Loss, correspondences",
        "stationary",
    ):
        assert expected in words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, ("points of 1 place not used", "a single validation place", "too optimistic")),
        (3, ("points of 3 places not used", "fewer than 4 validation places", "a first impression")),
    ],
)
def test_few_places_come_with_a_warning(street_run, tmp_path, monkeypatch, count, words):
    monkeypatch.setattr(page, "about", lambda sources: about(sources) | {"places_measured": count})
    report(ReportSettings(run=street_run / "run", labels=street_run / "labels", out=tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    assert all(word in text for word in words)


def test_controls_come_before_the_labels(street_run):
    sources = open_sources(ReportSettings(run=street_run / "run", labels=street_run / "labels"))
    main = sources.labelled[0]
    controls = main.metrics["controls"] | {"base": {"clusters": 19, "kappa_position_controlled": None}}
    rows = rows_with_controls(replace(sources, labelled=[replace(main, metrics=main.metrics | {"controls": controls})]))
    assert list(rows) == ["blind grid of 30 cells", "start network", "30 labels"]
    assert rows["blind grid of 30 cells"]["points"] == rows["30 labels"]["points"]


@pytest.mark.parametrize(("grid", "said"), [(0.7, True), (0.3, False), (None, False)])
def test_a_blind_grid_that_wins_the_same_view_comes_with_a_word(street_run, tmp_path, monkeypatch, grid, said):
    note = page.same_view_note({"kappa": 0.5, "controls": {"grid": {"kappa": grid}}})
    assert ("blind grid, 0.70, is not below that of the labels, 0.50" in note) == bool(note) == said
    monkeypatch.setattr(page, "same_view_note", lambda metrics: note)
    report(ReportSettings(run=street_run / "run", labels=street_run / "labels", out=tmp_path / "page.html"))
    assert ("says nothing about labels;" in (tmp_path / "page.html").read_text()) == said


def test_the_network_that_a_run_started_from_has_a_row(street_run, tmp_path):
    run = shutil.copytree(street_run / "run", tmp_path / "run", ignore=lambda *_: ["localization"])
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(f"{config}init: world:tiny\n")
    assert rows_with_controls(open_sources(ReportSettings(run=run)))["start network"]["clusters"] == 19
    (run / "config.yaml").write_text(f"{config}init: gone/away\n")
    assert "start network" not in rows_with_controls(open_sources(ReportSettings(run=run)))


def test_without_label_maps_they_are_made(street_run, tmp_path):
    run = shutil.copytree(street_run / "run", tmp_path / "a <run> & more", ignore=lambda *_: ["localization"])
    results = report(ReportSettings(run=run))
    assert results["parts"] == PARTS[:6]
    assert (run / "evaluate/labels/snow/c0/002.png").is_file()
    page = Page((run / "report.html").read_text())
    assert "a <run> & more" in "".join(page.words)
    assert page.open == []


def test_a_run_that_goes_on_shows_its_curves(street_run, tmp_path):
    shutil.copy(street_run / "run" / "metrics.jsonl", tmp_path)
    results = report(ReportSettings(run=tmp_path))
    assert results["parts"] == ["charts"]
    assert "not finished" in results["left_out"][0]
    assert Page((tmp_path / "report.html").read_text()).open == []


def test_a_data_set_that_is_gone_is_named(street_run, tmp_path):
    for name in ("metrics.jsonl", "model.safetensors"):
        shutil.copy(street_run / "run" / name, tmp_path)
    (tmp_path / "config.yaml").write_text("data: [gone/away]\n")
    results = report(ReportSettings(run=tmp_path))
    assert results["parts"] == ["charts"]
    assert "gone/away" in results["left_out"][0]
    with pytest.raises(FgsnError, match="elsewhere"):
        report(ReportSettings(run=tmp_path, data=tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"run": "data"}, "data is a data set; RUN: Run folder "),
        ({"run": "small"}, "neither a run"),
        ({"run": "."}, r"is a folder of fgsn start; pass its run: fgsn report .*run$"),
        ({"run": "nothing"}, "nothing does not exist"),
        ({"labels": "map"}, "map is a COLMAP model; --labels: Label maps "),
        ({"labels": "few/summer"}, "no label map of summer/c0/000.jpg"),
        ({"labels": "few"}, r"7 labels, but the model has 30"),
        ({"labels": "small"}, r"000\.png is incomplete or was made from another image than .*000\.jpg"),
        ({"localization": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_errors_are_one_line(street_run, tmp_path, capsys, flags, message):
    for file in (street_run / "labels").rglob("*.png"):
        name = file.relative_to(street_run / "labels")
        write_label_map(street_run / "few" / name, np.zeros((240, 320), int), 7)
        write_label_map(street_run / "small" / name, np.zeros((24, 32), int), 30)
    run = street_run / flags.get("run", "run")
    words = [word for key, value in flags.items() if key != "run" for word in (f"--{key}", str(street_run / value))]
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run), "--out", str(tmp_path / "page.html"), *words])
    assert stop.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fgsn:")]
    assert re.search(message, line)
    assert not (tmp_path / "page.html").exists()


def test_poses_without_truth_are_left_out(street_run, tmp_path):
    data = shutil.copytree(street_run / "data", tmp_path / "data", ignore=lambda *_: ["truth"])
    settings = ReportSettings(
        run=street_run / "run", data=data, labels=street_run / "labels", out=tmp_path / "page.html"
    )
    results = report(settings)
    assert results["parts"] == PARTS[:6]
    assert "no folder truth/" in results["left_out"][0]


def test_without_jinja2_the_extra_is_named(street_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"fgsn\[report\]"):
        report(ReportSettings(run=street_run / "run", out=tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()


def test_the_command_reports_what_it_wrote(street_run, tmp_path, capsys):
    shutil.copy(street_run / "run" / "metrics.jsonl", tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "report.html")


def test_numbers_for_people():
    assert [number(value) for value in (None, 3, 18500, 0.1234, -0.001, 2468.0)] == [
        "–", "3", "18 500", "0.12", "0.00", "2 468",
    ]  # fmt: skip
    assert [percent(share) for share in (None, 0.0, 0.012, 0.5, 1.0)] == [
        "–", "0.0\u00a0%", "1.2\u00a0%", "50\u00a0%", "100\u00a0%",
    ]  # fmt: skip
