import base64
import io
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fgsn.errors import FgsnError, MissingExtraError
from fgsn.evaluation.curves import read_charts, read_metrics, thinned, ticks
from fgsn.evaluation.label_figures import label_figures
from fgsn.evaluation.pictures import embed
from fgsn.evaluation.report import Scene, View, number, write_report
from fgsn.inference.label_maps import write_label_map

ROWS = ("Base classes", "Clusters <without> L_corr", "Clusters")


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
        if tag not in ("meta", "img", "br", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def figures():
    rng = np.random.default_rng(0)
    result = {}
    for name, clusters in zip(ROWS, (11, 100, 100), strict=True):
        a = rng.integers(0, clusters, 900)
        b = np.where(rng.random(900) < 0.7, a, 0)
        conditions = rng.choice(["snow", "night"], 900)
        result[name] = {"clusters": clusters, **label_figures(a, b, clusters, conditions=conditions)}
    return result


def scene(folder, size=(64, 48), conditions=("reference", "snow", "night")):
    rng = np.random.default_rng(0)
    views = []
    for condition in conditions:
        image = folder / f"{condition}.jpg"
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(image)
        write_label_map(folder / f"{condition}_base.png", rng.integers(0, 11, size[::-1]), 11)
        write_label_map(folder / f"{condition}_many.png", rng.integers(0, 1000, size[::-1]), 1000)
        maps = {"Base": folder / f"{condition}_base.png", "Many": folder / f"{condition}_many.png"}
        if condition == "night":
            del maps["Many"]
        views.append((condition, image, maps))
    return Scene("Place 7 <&>", views)


def metrics(folder):
    path = folder / "metrics.jsonl"
    rows = [{"step": 0, "clustering": {"objective": 1.5}}]
    rows += [
        {"step": n, "loss": 3 / (n + 1), "loss_class": 1.0, "loss_corr": 2 / (n + 1), "lr": 0.01} for n in range(500)
    ]
    rows += [
        {"step": n, "validation": {"information_bits": n / 100, "kappa": 0.4, "note": "text"}} for n in (0, 250, 500)
    ]
    rows += [{"step": 501, "loss": float("nan")}]
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 502, "lo')
    return path


def test_the_page_holds_everything_and_fetches_nothing(tmp_path):
    path = tmp_path / "report.html"
    write_report(
        path,
        "A <town>",
        "What came out.",
        figures(),
        {"Clusters": metrics(tmp_path), "Clusters <without> L_corr": metrics(tmp_path)},
        [scene(tmp_path), scene(tmp_path)],
        {"p3p": {"all": [10.0, 20.0, 30.0], "snow": [1, 2, 3]}, "ssmc_fgsn": {"all": [11, 21, 31]}},
        {"Seed": 3},
    )
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)
    words = "".join(page.words)
    for expected in (
        "A <town>",
        *ROWS,
        "snow",
        "night",
        "Kappa",
        "Place 7 <&>",
        "no label map",
        "SSMC",
        "11.0 / 21.0 / 31.0",
    ):
        assert expected in words
    assert page.tags.count("img") == 2 * (3 + 5)
    assert page.tags.count("svg") == 5


def test_a_page_with_figures_alone(tmp_path):
    write_report(tmp_path / "report.html", "Title", "Summary", figures())
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    assert "img" not in page.tags
    assert "svg" not in page.tags


def test_figures_that_are_missing_are_dashes(tmp_path):
    write_report(tmp_path / "report.html", "Title", "Summary", {"Base": {}, "Fine": {"kappa": None}})
    assert "–" in (tmp_path / "report.html").read_text()


def test_many_pictures_stay_within_the_budget(tmp_path):
    scenes = [scene(tmp_path, size=(420, 240))]
    large, small = (
        sum(len(uri) for one in embed(scenes, budget) for uri in one.photographs) for budget in (10**9, 200_000)
    )
    assert small < large * 0.7


def test_label_pictures_hold_no_colour_but_the_labels(tmp_path):
    write_label_map(tmp_path / "map.png", np.arange(600).reshape(20, 30) % 2, 2, np.array([[255, 0, 0], [0, 0, 255]]))
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.png")
    view = View("sun", tmp_path / "photo.png", {"Fine": tmp_path / "map.png"})
    (uri,) = embed([Scene("here", [view])], 10**6)[0].label_rows["Fine"]
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    assert {colour for _, colour in picture.getcolors()} == {(255, 0, 0), (0, 0, 255)}


def test_without_jinja2_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"fgsn\[report\]"):
        write_report(tmp_path / "report.html", "Title", "Summary", {})
    assert not (tmp_path / "report.html").exists()


def test_a_missing_picture_is_named(tmp_path):
    view = View("sun", tmp_path / "none.jpg", {})
    with pytest.raises(FgsnError, match=r"none\.jpg"):
        write_report(tmp_path / "report.html", "Title", "Summary", {}, scenes=[Scene("here", [view])])


def test_charts_leave_out_what_is_no_number(tmp_path):
    charts = {chart.name: chart for chart in read_charts({"run": metrics(tmp_path)})}
    assert list(charts) == [
        "loss", "loss_class", "loss_corr", "validation: information_bits", "validation: kappa",
    ]  # fmt: skip
    assert charts["validation: kappa"].lines["run"] == [(0, 0.4), (250, 0.4), (500, 0.4)]
    assert len(charts["loss"].lines["run"]) <= 160
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")][-1] == 501


def test_thinning_keeps_the_mean_and_short_lines():
    line = [(float(n), float(n % 7)) for n in range(1000)]
    thin = thinned(line, 50)
    assert len(thin) == 50
    assert np.mean([value for _, value in thin]) == pytest.approx(np.mean([value for _, value in line]))
    assert thinned(line[:9], 50) == line[:9]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.013, 0.9), (-3, 4), (5, 5), (0, 60000), (1e-6, 2e-6)])
def test_ticks_span_the_range_with_round_numbers(low, high):
    marks = ticks(low, high, 4)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9


def test_numbers_for_people():
    assert [number(value) for value in (None, 3, 18500, 0.1234, -0.001, 2468.0)] == [
        "–", "3", "18 500", "0.12", "0.00", "2 468",
    ]  # fmt: skip
