"""What can be checked of the container and the pinned versions without an engine and without a network."""

import re
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_every_direct_dependency_is_pinned():
    extras = PROJECT["optional-dependencies"].values()
    wanted = {_name(one) for one in [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]}
    assert wanted - {"fgsn"} <= {_name(name) for name in _pinned()}


def test_pins_and_container_name_no_address():
    for name in ("constraints.txt", "pyproject.toml", "Dockerfile"):
        assert "://" not in (ROOT / name).read_text(), name


def test_the_container_copies_what_there_is_and_lets_it_in():
    copied = [
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for source in shlex.split(line)[1:-1]
    ]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, source


def test_the_container_copies_what_the_package_is_built_from():
    text = (ROOT / "Dockerfile").read_text()
    for file in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        assert file in text, file


def test_the_container_asks_for_an_extra_that_there_is():
    extras = re.findall(r"'\.\[(.*?)\]'", (ROOT / "Dockerfile").read_text())
    assert extras
    assert set(extras) <= set(PROJECT["optional-dependencies"])
