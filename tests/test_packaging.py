"""What can be checked of wheel, container and pinned versions without an engine and without a network."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

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


def test_every_direct_dependency_has_its_licence_listed():
    rows = (ROOT / "docs" / "licences.md").read_text().splitlines()
    listed = {name for row in rows if row.startswith("| ") for name in row.split(" | ")[0].strip("| ").split(", ")}
    extras = PROJECT["optional-dependencies"].values()
    wanted = {_name(one) for one in [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]}
    assert wanted - {"fgsn"} <= listed


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    assert len(cited["preferred-citation"]["authors"]) == 6


@pytest.mark.slow
def test_the_wheel_made_from_the_sdist_runs_outside_the_checkout(tmp_path):
    """Without a network: the build backend and the dependencies are those of this environment."""

    def ran(*command):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    checkout, dist, fresh = tmp_path / "checkout", tmp_path / "dist", tmp_path / "fresh"
    shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        shutil.copy(ROOT / file, checkout)
    build = "import os, sys; os.chdir(sys.argv[1]); from setuptools import build_meta as b; b.build_sdist(sys.argv[2])"
    ran(sys.executable, "-c", build, checkout, dist)
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.rmtree(checkout)
    [source] = (tmp_path / "unpacked").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    ran(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, source)
    [wheel] = dist.glob("*.whl")
    assert wheel.name == f"fgsn-{PROJECT['version']}-py3-none-any.whl"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    ran(*pip, "--python", python, "install", "--no-index", "--no-deps", wheel)
    packages = Path(ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # comes after the wheel
    assert ran(python, "-c", "import fgsn; print(fgsn.__file__)").startswith(str(packages))
    assert ran(fresh / "bin" / "fgsn", "--version") == ran(python, "-m", "fgsn", "--version")
    assert PROJECT["version"] in ran(python, "-m", "fgsn", "--version")
    ran(fresh / "bin" / "fgsn", "demo", "--quick", "--out", tmp_path / "demo", "--device", "cpu")
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
