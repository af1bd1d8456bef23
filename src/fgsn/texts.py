"""The texts of settings: the docstrings below their fields, which --help, messages and the reference show."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import Field, fields
from functools import cache
from itertools import pairwise
from typing import Any


def documented_fields(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The fields of a class that have a docstring: name, source, and docstring in one line."""
    for line, below in pairwise(getattr(node, "body", [])):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, ast.unparse(line), " ".join(text.split())


@cache
def field_help(owner: type) -> dict[str, str]:
    """The docstring of every field of a class, including those of its base classes."""
    classes = [ast.parse(inspect.getsource(one)).body[0] for one in reversed(owner.__mro__[:-1])]
    return {name: text for node in classes for name, _, text in documented_fields(node)}


def own_first(owner: type) -> list[Field[Any]]:
    """The fields of a dataclass, those of its base classes last."""
    bases = [{one.name for one in fields(base)} for base in owner.__mro__[1:-1]]
    return sorted(fields(owner), key=lambda one: sum(one.name in names for names in bases))
