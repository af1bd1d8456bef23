"""The page in a headless browser: it opens without errors, requests nothing, and its controls work.

Requires playwright and Chromium, from Debian or playwright; skipped without them.
"""

import shutil
from pathlib import Path

import pytest

from fgsn.config import ReportSettings
from fgsn.report.page import report

playwright = pytest.importorskip("playwright.sync_api")

PARTS = ("metrics", "poses", "distances", "places", "clusters", "confusion", "training", "about")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        own = Path(tool.chromium.executable_path)
        found = str(own) if own.is_file() else shutil.which("chromium") or shutil.which("chromium-browser")
        if found is None:
            pytest.skip("no Chromium here: apt install chromium, or playwright install chromium")
        browser = tool.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(street_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    report(ReportSettings(run=street_run / "run", labels=street_run / "labels", out=out))
    return out.as_uri()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["laptop", "telephone"])
def page(request, browser, address):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 800)
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [address]


def shown(page, selector):
    return page.locator(selector).filter(visible=True).count()


def test_it_opens_and_fits_the_screen(page):
    for part in PARTS:
        assert page.locator(f"#{part}").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every(image => image.hidden || image.naturalWidth > 0)")


def test_long_names_do_not_widen_the_page(page):
    kinds = "option, figcaption, td:first-child, .bar span:first-child, h3, .tag, dt, p"
    name = "images_of_a_condition/one_with_a_name_of_sixty_characters.jpg"
    page.evaluate("([kinds, name]) => document.querySelectorAll(kinds).forEach(one => one.append(name))", [kinds, name])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_one_slider_moves_all_pictures(page):
    def cuts():
        return page.evaluate("[...document.querySelectorAll('img.label')].map(x => getComputedStyle(x).clipPath)")

    assert set(cuts()) == {"inset(0px 0px 0px 50%)"}
    page.locator("#cut").fill("20")
    assert set(cuts()) == {"inset(0px 0px 0px 20%)"}
    page.locator("#cut").press("ArrowRight")
    assert set(cuts()) == {"inset(0px 0px 0px 21%)"}
    page.locator("#place").select_option("1")
    assert shown(page, ".views") == 1
    assert page.locator(".views[data-place='1']").is_visible()


def test_a_label_that_is_picked_is_shown_everywhere(page):
    page.locator("#cut").fill("0")
    stack = page.locator(".stack").first
    stack.scroll_into_view_if_needed()
    stack.click(position={"x": 60, "y": 60})
    assert shown(page, ".stack canvas") == 2
    assert page.locator("#picked").inner_text().startswith("Label ")
    assert page.locator("#picked").inner_text().count("%") == 2
    page.locator("#all-labels").click()
    assert page.locator(".stack canvas").count() == 0


def test_clusters_are_ordered_and_chosen(page):
    cards = "#gallery article"
    total = page.locator(cards).count()
    assert shown(page, cards) == 12 < total
    page.locator("#more").click()
    assert shown(page, cards) == total
    page.locator("#order").select_option("agreement")
    values = page.evaluate("[...document.querySelectorAll('#gallery article')].map(x => +x.dataset.agreement)")
    assert values == sorted(values, reverse=True)
    page.locator("#which").select_option("1")
    assert shown(page, cards) == page.locator(f"{cards}[data-stays='1']").count() < total


def test_the_confusion_matrix_describes_its_cells(page):
    heat = page.locator("#heat")
    heat.focus()
    heat.press("ArrowDown")
    heat.press("ArrowRight")
    heat.press("ArrowDown")
    first = page.locator("#heat-text").inner_text()
    assert "agrees" in first or "is confused with" in first
    box = heat.bounding_box()
    heat.hover(position={"x": box["width"] * 0.8, "y": box["height"] * 0.4})
    assert page.locator("#heat-text").inner_text() != first


def test_poses_and_matches_can_be_chosen(page):
    assert "5 found within" in page.locator("#map-count").inner_text()
    page.locator("#map-method").select_option("p3p")
    assert page.evaluate("document.querySelectorAll('#map g[data-method=ssmc_fgsn]:not([hidden])').length") == 0
    kept, dropped = (f"document.querySelectorAll('#match-lines .{kind}').length" for kind in ("accepted", "rejected"))
    assert page.evaluate(kept) > 0 < page.evaluate(dropped)
    before = page.locator("#match-text").inner_text(), page.locator("#match-left").get_attribute("src")
    page.locator("#match-method").select_option("1")
    assert "P3P" in page.locator("#match-text").inner_text() != before[0]
    page.locator("#match-query").select_option("1")
    assert page.locator("#match-left").get_attribute("src") != before[1]
    page.locator(".match-kind[value=rejected]").uncheck()
    assert page.evaluate(dropped) == 0 < page.evaluate(kept)


def test_pictures_can_be_enlarged(page):
    for kind in (".strip", ".views[data-place='0']", "#matches"):
        small = page.locator(f"{kind} .picture").first
        width = small.bounding_box()["width"]
        page.locator(f"{kind} .opens").first.click()
        assert page.locator("#large-picture .picture").bounding_box()["width"] >= width
        assert page.evaluate("[...document.querySelectorAll('#large img')].every(one => one.naturalWidth > 0)")
        page.locator("#large button").click()
        assert not page.locator("#large").is_visible()
