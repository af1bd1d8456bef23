"""Write docs/reference.md and docs/api.md: flags from the fields of the settings, names from signatures and docstrings.

python scripts/make_reference.py

Nothing is imported but the settings and the table of commands; the rest is read from the source.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from inspect import cleandoc, getsource
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import fgsn
from fgsn.cli import COMMANDS, Output
from fgsn.config import Settings

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = Path(fgsn.__file__).parents[1]
MADE = "<!-- made by scripts/make_reference.py; change the docstrings, not this page -->"
MORE = {
    "Reading and writing": (
        "fgsn.data.correspondences.write_correspondences",
        "fgsn.inference.label_maps.read_label_map",
        "fgsn.inference.label_maps.write_label_map",
        "fgsn.geometry.colmap.read_model",
        "fgsn.formats.poses.read_results",
        "fgsn.formats.poses.write_results",
    ),
    "Metrics": ("fgsn.evaluation.label_metrics.label_metrics",),
    "Poses": (
        "fgsn.formats.hloc.read_pairs",
        "fgsn.geometry.gravity.up_of_cameras",
        "fgsn.formats.priors.priors_like",
        "fgsn.formats.priors.write_priors",
    ),
}
"""Functions beside the public names that the pages use, or that a script is likely to want."""
Definition = ast.FunctionDef | ast.ClassDef


def reference() -> str:
    """The page of all commands, flags and defaults."""
    parts = [
        "# Commands and settings",
        MADE,
        "A setting is a flag (`--short-side 480`) and a key of a YAML file for `--config` (`short_side: 480`); flags "
        "win, an unknown key is an error. Flags with `…` take several values. Ranges are checked before any work.",
        "## Every command",
        _flags([*fields(Settings), *fields(Output)], Settings, Output),
    ]
    shared = {field.name for field in fields(Settings)}
    for name, command in COMMANDS.items():
        own = [field for field in fields(command.settings) if field.name not in shared]
        parts += [f"## `fgsn {name}`", cleandoc(command.settings.__doc__ or "")]
        if command.shared:
            parts.append("Several processes, started by torchrun, share its work.")
        parts.append(_flags(own, command.settings))
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """The page of Python names."""
    homes: dict[str, str] = fgsn._HOMES
    parts = [
        "# Python",
        MADE,
        "`import fgsn` gives the names below; they stay. Whatever is wrong with an input is raised as "
        "`fgsn.errors.FgsnError`, in one line.",
    ]
    for name in fgsn.__all__:
        parts += [f"## `fgsn.{name}`", *_described(f"{homes[name]}.{name}")]
    parts += [
        "## Commands as functions",
        "What a command does, a function does: settings in, results out, as `--json` prints them. The fields of the "
        "settings are the [flags](reference.md).",
        "```python\nfrom pathlib import Path\n\nfrom fgsn.config import SegmentSettings\n"
        "from fgsn.inference.segment import segment\n\n"
        'results = segment(SegmentSettings(model=Path("run"), images=Path("images"), out=Path("labels")))\n```',
        "| command | function | settings |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| `{name}` | `{command.function.replace(':', '.')}` | `{command.settings.__name__}` |"
            for name, command in COMMANDS.items()
        ),
    ]
    for title, names in MORE.items():
        parts.append(f"## {title}")
        for name in names:
            parts += [f"### `{name}`", *_described(name)]
    return "\n\n".join(parts) + "\n"


def _flags(rows: list[Field[Any]], *owners: type) -> str:
    told = {name: text for owner in owners for name, text in _told(owner).items()}
    types = {name: kind for owner in owners for name, kind in get_type_hints(owner).items()}
    lines = ["| flag | takes | default | |", "| --- | --- | --- | --- |"]
    for field in rows:
        cells = (_flag(field, types[field.name]), _takes(types[field.name]), _default(field), told[field.name])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _flag(field: Field[Any], kind: Any) -> str:
    flag = "--" + field.name.replace("_", "-")
    if kind is bool and field.default is True:
        return f"`{flag}`, `--no-{flag[2:]}`"
    return f"`{_positional(field) or flag}`"


def _positional(field: Field[Any]) -> str | None:
    """What a value that is given without a flag is called; the settings say it to tyro in their annotations."""
    said = [one.metavar for one in getattr(field.type, "__metadata__", ()) if hasattr(one, "metavar")]
    return said[0] if said else None


def _takes(kind: Any) -> str:
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        return f"{_takes(kinds[0])} …" if kinds[-1] is Ellipsis else " ".join(map(_takes, kinds))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if NoneType in get_args(kind):
        return _takes(get_args(kind)[0])
    return {Path: "path", int: "whole number", float: "number", str: "text", bool: ""}[kind]


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING:
        return "**must be given**"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _told(settings: type) -> dict[str, str]:
    """The docstring of every field, those of the classes above included."""
    told = {}
    for one in reversed(settings.__mro__[:-1]):
        told |= {name: text for name, _, text in _documented(ast.parse(getsource(one)).body[0])}
    return told


def _documented(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The fields of a class that have a docstring below them: name, source, and docstring in one line."""
    for line, below in pairwise(getattr(node, "body", [])):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, ast.unparse(line), " ".join(text.split())


def _described(dotted: str) -> list[str]:
    node = _found(dotted)
    if isinstance(node, ast.FunctionDef):
        return [f"```python\n{_signature(node)}\n```", *_text(node)]
    parts = _text(node)
    known = [f"- `.{line}`: {text}" for _, line, text in _documented(node)]
    parts += ["\n".join(known)] if known else []
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
            continue
        decorators = {ast.unparse(one) for one in method.decorator_list}
        if decorators & {"property", "cached_property"}:
            head = f"`.{method.name}: {ast.unparse(method.returns) if method.returns else ''}`"
        else:
            head = f"`{'' if 'classmethod' in decorators else '.'}{_signature(method, node.name)}`"
        parts += [head, *_text(method)]
    return parts


def _found(dotted: str) -> Definition:
    """The definition of a function or class, by its full name."""
    module, _, name = dotted.rpartition(".")
    path = SOURCE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise LookupError(f"{dotted} is not defined in {file}")


def _signature(node: ast.FunctionDef, owner: str | None = None) -> str:
    """How a function is called; a method without its first argument, a class's own with the name of the class."""
    arguments = re.split(r", (?=\w+: )", ast.unparse(node.args).replace("=", " = "))[1 if owner else 0 :]
    between = ", " if owner or sum(map(len, arguments)) < 90 else ",\n    "
    listed = between.join(arguments) if between == ", " else f"\n    {between.join(arguments)},\n"
    of_class = owner and any(ast.unparse(one) == "classmethod" for one in node.decorator_list)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{f'{owner}.' if of_class else ''}{node.name}({listed}){returns}".replace("'", '"')


def _text(node: Definition) -> list[str]:
    """A docstring as Markdown: its parts Args, Returns and Raises become lists."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):\n", cleandoc(ast.get_docstring(node) or ""), flags=re.MULTILINE)
    text = [parts[0].strip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        # A line that is indented no deeper than the first begins an item; deeper ones go on with it.
        items = [body] if title == "Returns" else re.split(r"\n(?! )", dedent(body).strip())
        text.append("\n".join(f"- {_item(title, ' '.join(item.split()))}" for item in items))
    return text


def _item(title: str, item: str) -> str:
    name, colon, rest = item.partition(": ")
    if title == "Args" and colon:
        return f"`{name}`: {rest}"
    return f"{title.lower()} `{name}`: {rest}" if title == "Raises" and colon else f"{title.lower()}: {item}"


PAGES = {"reference.md": reference, "api.md": api}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
