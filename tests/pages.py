"""The pages of the documentation, as the tests read them."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "configs" / "README.md"]


def title(page: Path) -> str:
    """The name of a page, as links from the top give it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Language and text of every block in one of these languages, in order; "" is a block without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found if language in languages]


def snippets(page: Path) -> Iterator[tuple[str, str]]:
    """The blocks that a reader runs: commands and programs."""
    for language, text in blocks(page, "sh", "python"):
        if language == "sh" or "->" not in text or "def " in text:  # else it tells how a function is called
            yield language, text


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command of a shell block, without variables set for it; torchrun's is that of one process."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words[:1] == ["torchrun"]:
            del words[: words.index("--no-python") + 1]
        if words:
            yield words


def without_blocks(page: Path) -> str:
    """What stands in sentences and tables."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def load_script(name: str) -> ModuleType:
    """A script of benchmarks/ or scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
