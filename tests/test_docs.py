"""The pages: every command in them parses, every link leads somewhere, and what is made from the code is fresh."""

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fgsn import demo
from fgsn.cli import COMMANDS, main, parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "configs" / "README.md"]
SMALL = demo.Size(4, (256, 192), ("snow", "night"), clusters=5, iterations=2, batch=1, crop=65)
FEWER = {"train": "--iterations 2 --batch 1 --crop 65 --clusters 5", "correspond": "--workers 1"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command of a page's shell blocks, in order."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def heading_anchors(page: Path) -> set[str]:
    """What a link may name behind #: headings as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_right(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags exist, values are in range, and what must be given is given; files are placeholders."""
    for words in commands(page):
        match words:
            case ["fgsn", name, *arguments]:
                try:
                    parse(name, [{"X": "0", "Y": "0", "Z": "1"}.get(word, word) for word in arguments])
                except SystemExit:
                    pytest.fail(f"{shlex.join(words)}: {capsys.readouterr()}")
            case ["python", script, *_]:
                assert (ROOT / script).is_file(), words
            case ["make", *targets]:
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert [target for target in targets if f"\n{target}:" not in makefile] == [], words
            case ["pip" | "git" | "docker" | "torchrun" | "hf", *_]:
                pass
            case _:
                pytest.fail(f"unknown command: {shlex.join(words)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_named_in_sentences_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name, rest in re.findall(r"`fgsn ([a-z][\w-]*)([^`]*)`", text):
        assert name in COMMANDS, name
        known = {field.replace("_", "-") for field in [*COMMANDS[name].settings.__dataclass_fields__, "config", "json"]}
        wrong = [flag for flag in re.findall(r"--([a-z][a-z-]*)", rest) if flag.removeprefix("no-") not in known]
        assert wrong == [], f"fgsn {name}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in heading_anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_compiles_and_what_it_imports_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        if "->" in block and "def " not in block:  # how a function is called, not a program
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fgsn"):
                module = importlib.import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], block


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in names if f"({name})" not in index] == []
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["reference.md", "api.md"])
def test_pages_made_from_the_code_are_fresh(name: str) -> None:
    made = make_reference().PAGES[name]()
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


@pytest.mark.slow
def test_the_tour_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the tour, one after the other, in a small town and with few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "QUICK", SMALL)
    for words in commands(ROOT / "docs" / "tour.md"):
        if words[0] != "fgsn":
            continue
        with pytest.raises(SystemExit) as stop:
            main([*words[1:], *FEWER.get(words[1], "").split()])
        # A check that finds something to look at ends with 1, and here there is.
        assert stop.value.code in ((0, 1) if words[1] == "check" else (0,)), words
