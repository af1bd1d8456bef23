"""The scene of the tests that match images; other files here have scenes of their own."""

import pytest

from fgsn.localization import matching_pipeline
from matched_scene import make_scene


@pytest.fixture
def scene(tmp_path, monkeypatch):
    scene = make_scene(tmp_path / "images", [*(f"summer/{n}.png" for n in range(3)), "winter/0.png", "winter/1.png"])
    monkeypatch.setattr(matching_pipeline, "make_matcher", lambda *_: scene.matcher)
    return scene
