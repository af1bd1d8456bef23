"""Results as text: JSON, or tables that fit the terminal."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fgsn.errors import printable


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with these columns; others are left out."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def as_json(results: Mapping[str, Any]) -> str:
    """Results as JSON; ASCII only if it contains characters that a terminal obeys or stdout cannot encode."""
    text = json.dumps(results, indent=2, ensure_ascii=False, default=str)
    encoding = sys.stdout.encoding or "ascii"
    plain = text.encode(encoding, "ignore").decode(encoding) == text and text.replace("\n", "").isprintable()
    return text if plain else json.dumps(results, indent=2, default=str)


def show(results: Mapping[str, Any]) -> None:
    """Print results as tables, in full: columns that do not fit go below, and the terminal wraps long values."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    values = {key: value for key, value in results.items() if not isinstance(value, Mapping)}
    width = max(map(len, values), default=0) + 2
    for key, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else _lines(key, value)
        print(f"{printable(key):<{width}}" + text.replace("\n", "\n" + " " * width))
    for key, value in results.items():
        if isinstance(value, Mapping) and value:
            console.print(*_tables(key, value, console.width))


def _lines(name: str, value: Any) -> str:
    """A value as text; lists other than metrics have one item per line."""
    if not isinstance(value, (list, tuple)) or (value and all(isinstance(item, float) for item in value)):
        return _cell(name, value)
    return "\n".join(printable(str(item)) for item in value) or "none"


def _tables(title: str, rows: Mapping[str, Any], width: int) -> list[Any]:
    """The rows as one table, or as several with some of the columns each if the width requires it."""
    from rich.table import Table

    if all(isinstance(row, Mapping) for row in rows.values()):
        names = list(
            dict.fromkeys(name for row in rows.values() for name, cell in row.items() if not isinstance(cell, Mapping))
        )
        columns = [[printable(name), *(_cell(name, row.get(name, "")) for row in rows.values())] for name in names]
        columns.insert(0, ["", *map(printable, rows)])
        if len(names) > len(rows):  # the longer side goes down
            columns = [list(column) for column in zip(*columns, strict=True)]
    else:
        columns = [["", *map(printable, rows)], ["", *(_cell(name, value) for name, value in rows.items())]]
    first, *others = columns
    blocks: list[list[list[str]]] = []
    for column in others:
        if not blocks or _width([first, *blocks[-1], column]) > width:
            blocks.append([])
        blocks[-1].append(column)
    tables = []
    for block in blocks:
        table = Table(title=None if tables else title, title_justify="left", show_header=any(c[0] for c in block))
        for heading, *_ in (first, *block):
            table.add_column(heading, overflow="fold")
        for cells in zip(*(column[1:] for column in (first, *block)), strict=True):
            table.add_row(*cells)
        tables.append(table)
    return tables


def _width(columns: Sequence[Sequence[str]]) -> int:
    """The width of a table with these columns."""
    from rich.cells import cell_len

    return 1 + sum(3 + max(map(cell_len, column)) for column in columns)


def _cell(name: str, value: Any) -> str:
    """A value as text; a list of numbers is percentages or, depending on its name, an interval."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(key))} {_cell(key, item)}" for key, item in value.items())
    if not isinstance(value, (list, tuple)):
        return printable(str(value))
    if name.endswith("_interval"):
        return "–".join(_cell("", end) for end in value)
    if value and all(isinstance(item, float) for item in value):
        return " / ".join(f"{item:.1f}" for item in value)
    if name == "interval":
        return " / ".join("–".join(f"{end:.0f}" for end in ends) for ends in value)
    return " ".join(_cell("", item) for item in value)
