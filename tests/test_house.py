"""The house: the order of imports and the walks of docs/contributing.md, the size of files, the words."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from pages import ROOT, blocks

SRC = ROOT / "src" / "fgsn"
FILES = {".".join(path.relative_to(SRC.parent).with_suffix("").parts): path for path in sorted(SRC.rglob("*.py"))}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
"""Every module of fgsn by its name."""
PAGE = ROOT / "docs" / "contributing.md"
REGISTRIES = {"fgsn.matching.matcher", "fgsn.models.backbones"}
DISK = {"exists", "glob", "is_dir", "is_file", "iterdir", "open", "read_bytes", "read_text", "rglob", "stat"}
GONE = re.compile(r"embedded world|honest run|(?<!there )is no folder|written_whole|gradients_stay_here|made_ready")
TEXT = {".css", ".j2", ".js", ".md", ".py", ".yaml"}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def imported(name: str, node: ast.AST) -> Iterator[str]:
    """The modules of fgsn that a statement of module `name` imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in FILES)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{name}: imports are absolute"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if full in FILES or node.module in FILES:
                yield full if full in FILES else str(node.module)


def imports(name: str) -> set[str]:
    """All modules of fgsn that a module imports: at its top, inside functions and for type checkers."""
    return {other for node in ast.walk(tree(name)) for other in imported(name, node)}


def type_imports(name: str) -> set[str]:
    """Those that it imports for type checkers only."""
    guarded = [
        node
        for block in ast.walk(tree(name))
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    others = {other for node in ast.walk(tree(name)) if node not in guarded for other in imported(name, node)}
    return {other for node in guarded for other in imported(name, node)} - others


def foreign(node: ast.AST) -> set[str]:
    """The packages of others that a statement imports."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"fgsn"}


def test_what_is_imported_is_installed_with_fgsn():
    """Packages for developers, such as scikit-learn, are there in tests, but not for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def modules(requirements):
        names = [re.split(r"[><=\[]", one)[0].replace("-", "_") for one in requirements]
        return {{"pillow": "PIL", "pyyaml": "yaml"}.get(name, name) for name in names}

    optional = [one for name in extras if name != "dev" for one in extras[name]]
    anywhere = modules([*project["dependencies"], *optional])
    anywhere |= {"markupsafe", "torchvision"}  # with jinja2 and timm
    for name in FILES:
        assert set().union(*map(foreign, tree(name).body)) <= modules(project["dependencies"]), name
        assert set().union(*map(foreign, ast.walk(tree(name)))) <= anywhere, name


def room(name: str) -> str:
    """The folder or file of src/fgsn/ that a module belongs to, as the page lists it."""
    parts = name.split(".")
    if len(parts) == 1:
        return "__init__.py"
    return f"{parts[1]}/" if (SRC / parts[1]).is_dir() else f"{parts[1]}.py"


def stated_order() -> list[str]:
    """The rooms in the order of the page: each imports only from those after it."""
    [(_, text), *_] = blocks(PAGE, "")
    return re.findall(r"^  (\w+(?:/|\.py)) {2,}\S", text, re.MULTILINE)


def test_the_page_lists_every_room_once():
    rooms = stated_order()
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room(name) for name in FILES}


def test_imports_follow_the_order_of_the_page():
    order = {name: place for place, name in enumerate(stated_order())}
    against = [
        f"{name} imports {other}"
        for name in FILES
        for other in imports(name)
        if room(name) != room(other) and order[room(name)] >= order[room(other)]
    ]
    assert against == []


def test_only_registries_are_circles():
    names = list(FILES)
    imported = [imports(name) - type_imports(name) for name in names]
    graph = np.array([[other in mine for other in names] for mine in imported])
    _, group = connected_components(graph, directed=True, connection="strong")
    groups = [{names[i] for i in np.flatnonzero(group == number)} for number in np.unique(group)]
    circles = [members for members in groups if len(members) > 1]
    assert [members for members in circles if not members & REGISTRIES] == []
    assert sum(len(members & REGISTRIES) for members in circles) == len(REGISTRIES)  # so the search finds circles
    for members in circles:  # entries know their registry and not each other
        assert all(imports(name) & members <= REGISTRIES for name in members - REGISTRIES)


def test_evaluation_and_localization_do_not_import_each_other():
    pair = {"evaluation/", "localization/"}
    crossing = [(name, other) for name in FILES for other in imports(name) if {room(name), room(other)} == pair]
    assert crossing == []


def test_config_reads_no_disk_and_knows_no_command_line():
    for name in (name for name in FILES if room(name) == "config/"):
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not any(module.partition(".")[0] == "tyro" for module in modules), name
            if isinstance(node, ast.Attribute):
                assert node.attr not in DISK, f"{name}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 400


def test_the_walks_pass_by_what_exists():
    walks = re.findall(r"^### (.+)\n\n((?:\d+\. .+\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(walks) == 3
    for title, text in walks:
        stops = re.findall(r"^\d+\. `([\w/]+\.py)` `(\w+)` \S", text, re.MULTILINE)
        assert 1 < len(stops) == len(text.splitlines()) <= 10, title
        for file, function in stops:
            body = tree(".".join(["fgsn", *Path(file).with_suffix("").parts])).body
            defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            assert function in defined, f"{title}: {file} {function}"


def test_words_of_our_own_are_gone():
    folders = (ROOT / "src", ROOT / "docs")
    pages = [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*") if path.suffix in TEXT)]
    assert len(pages) > 200
    texts = {path: path.read_text(encoding="utf-8").lower() for path in pages}
    assert [(path.name, found) for path, text in texts.items() for found in GONE.findall(text)] == []
