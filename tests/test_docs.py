"""The pages: every command in them parses, every link leads somewhere, and what is made from the code is fresh."""

import argparse
import ast
import functools
import importlib
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pytest

from fgsn.cli import COMMANDS, parse
from pages import PAGES, ROOT, blocks, commands, load_script, snippets, title, without_blocks

per_page = pytest.mark.parametrize("page", PAGES, ids=title)


def heading_anchors(page: Path) -> set[str]:
    """What a link may name behind #: headings as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Parsed(Exception):
    """A script has told its flags."""


@functools.cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """How a script of benchmarks/ reads its flags; it is run up to there."""

    def stop(parser: argparse.ArgumentParser) -> None:
        raise Parsed(parser)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [script])
        patch.syspath_prepend(ROOT / "benchmarks")
        with pytest.raises(Parsed) as parsed:
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return parsed.value.args[0]


@per_page
def test_commands_are_right(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags exist, values are in range, and what must be given is given; files are placeholders."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in (words for _, text in blocks(page, "sh") for words in commands(text)):
        try:
            match words:
                case ["fgsn", name, *given]:
                    parse(name, [{"X": "0", "Y": "0", "Z": "1"}.get(word, word) for word in given])
                case ["python", script, *given] if script.startswith("benchmarks/"):
                    parser_of(script).parse_args(given)
                case ["python", script]:
                    assert (ROOT / script).is_file(), words
                case ["make", *targets]:
                    assert [target for target in targets if f"\n{target}:" not in makefile] == [], words
                case _:
                    pytest.fail(f"unknown command: {shlex.join(words)}")
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr()}")
    hidden = [line for _, text in blocks(page, "") for line in text.splitlines()]
    assert [line for line in hidden if re.match(r"([A-Z_]+=\S+ )*(fgsn|python|torchrun|make|pip) ", line)] == []


@per_page
def test_commands_named_in_sentences_exist(page: Path) -> None:
    text = without_blocks(page)
    for name, rest in re.findall(r"`fgsn ([a-z][\w-]*)([^`]*)`", text):
        assert name in COMMANDS, name
        known = {field.replace("_", "-") for field in [*COMMANDS[name].settings.__dataclass_fields__, "config", "json"]}
        wrong = [flag for flag in re.findall(r"--([a-z][a-z-]*)", rest) if flag.removeprefix("no-") not in known]
        assert wrong == [], f"fgsn {name}{rest}"
    for script, rest in re.findall(r"`(?:python )?(benchmarks/\w+\.py)([^`]*)`", text):
        wrong = [
            flag for flag in re.findall(r"--[a-z-]+", rest) if flag not in parser_of(script)._option_string_actions
        ]
        assert wrong == [], f"{script}{rest}"


@per_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in heading_anchors(file), target


@per_page
def test_python_compiles_and_what_it_imports_exists(page: Path) -> None:
    for block in (text for language, text in snippets(page) if language == "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fgsn"):
                module = importlib.import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], block


def test_every_page_and_every_command_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in names if f"({name})" not in index] == []
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/README.md)" in front
    assert [name for name in COMMANDS if f"`fgsn {name}`" not in front] == []


@pytest.mark.parametrize("name", ["reference.md", "api.md"])
def test_pages_made_from_the_code_are_fresh(name: str) -> None:
    made = load_script("scripts/make_reference.py").PAGES[name]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made, "run python scripts/make_reference.py"


def test_the_reference_knows_every_flag() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        part = text.partition(f"## `fgsn {name}`\n")[2].partition("\n## ")[0]
        own = set(command.settings.__dataclass_fields__) - {"seed", "device"}
        assert len(re.findall(r"^\| `", part, re.MULTILINE)) == len(own), name


def test_the_messages_that_are_explained_are_said() -> None:
    said = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant):
                said.add(str(node.value))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 20
    for message in messages:
        form = re.compile(re.escape(message).replace("…", ".*"))
        assert any(form.search(text) for text in said), message
