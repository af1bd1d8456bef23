"""The command `fgsn`: converts flags and YAML to settings, calls one function, and prints its results.

Nothing imports this module. Each command is a function `settings -> results` in the module named in `COMMANDS`. The
module is imported only when its command runs, so that `--help` stays fast.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, make_dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_origin, get_type_hints

from fgsn import config, ranks
from fgsn.config.base import COMMA_LISTS, OLD_NAMES, flag, from_yaml_values
from fgsn.errors import FgsnError, UsageError, nearest, printable
from fgsn.files import read_yaml
from fgsn.progress import say


@dataclass(frozen=True)
class Command:
    """One command: the class of its settings and its function."""

    settings: type[config.Settings]
    function: str
    """`module:name`."""
    shared: bool = False
    """Whether it can run in several processes, started by torchrun."""


COMMANDS = {
    "demo": Command(config.DemoSettings, "fgsn.demo.demo:demo"),
    "start": Command(config.StartSettings, "fgsn.start:start"),
    "world": Command(config.WorldSettings, "fgsn.world:make_world"),
    "prepare": Command(config.PrepareSettings, "fgsn.data.prepare:prepare"),
    "correspond": Command(config.CorrespondSettings, "fgsn.correspond.correspond:correspond"),
    "check": Command(config.CheckSettings, "fgsn.checks.check:check"),
    "convert-vistas": Command(config.ConvertVistasSettings, "fgsn.data.convert_vistas:convert_vistas"),
    "pretrain": Command(config.PretrainSettings, "fgsn.training.pretrain:pretrain"),
    "import": Command(config.ImportSettings, "fgsn.inference.import_model:import_model"),
    "train": Command(config.TrainSettings, "fgsn.training.train:train", shared=True),
    "segment": Command(config.SegmentSettings, "fgsn.inference.segment:segment", shared=True),
    "stationary": Command(config.StationarySettings, "fgsn.evaluation.stationary:stationary"),
    "evaluate": Command(config.EvaluateSettings, "fgsn.evaluation.evaluate:evaluate"),
    "retrieve": Command(config.RetrieveSettings, "fgsn.matching.retrieve:retrieve"),
    "augment": Command(config.AugmentSettings, "fgsn.matching.augment:augment"),
    "localize": Command(config.LocalizeSettings, "fgsn.localization.localize:localize"),
    "track": Command(config.TrackSettings, "fgsn.tracking.track:track_sequences"),
    "score-poses": Command(config.ScorePosesSettings, "fgsn.evaluation.score_poses:score_poses"),
    "report": Command(config.ReportSettings, "fgsn.report.page:report"),
    "sweep": Command(config.SweepSettings, "fgsn.sweep:sweep"),
    "export": Command(config.ExportSettings, "fgsn.export.export:export"),
    "bench": Command(config.BenchSettings, "fgsn.bench.bench:bench"),
    "info": Command(config.InfoSettings, "fgsn.inference.info:info"),
}


@dataclass(frozen=True)
class Output:
    """The flags of every command that are not settings."""

    config: Path | None = None
    """YAML file with settings of this command; flags override it."""
    json: bool = False
    """Print only the results, as JSON, on stdout."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `fgsn`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _terminated)
    _open_streams()
    try:
        sys.exit(_run(arguments))
    except FgsnError as error:
        if debug:
            raise
        say(f"fgsn: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        say(f"fgsn: interrupted; finished work is saved: {_how_to_continue(arguments[0])}")
        sys.exit(143 if stop.args == ("SIGTERM",) else 130)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError as error:  # a file that no reader guards: no permission, a name that is too long, a full disk
        if debug:
            raise
        subject = "" if error.filename is None else f"cannot use {error.filename}: "
        say(f"fgsn: {subject}{error.strerror or error}")
        sys.exit(1)
    except MemoryError as error:
        if debug:
            raise
        say(f"fgsn: not enough memory: {str(error) or 'use smaller images, windows or batches'}")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"fgsn: internal error, {type(error).__name__}: {error} (please report it; --debug shows where)")
        sys.exit(1)


def _open_streams() -> None:
    """Make stdout and stderr accept any text: they may be closed, or have an encoding with few characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(results: Mapping[str, Any], as_json: bool) -> None:
    """Print the results.

    Raises:
        FgsnError: stdout cannot be written, such as to a full disk.
    """
    try:
        if as_json:
            print(_json(results))
        else:
            show(results)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise FgsnError(f"cannot write to stdout: {error.strerror}") from None


def _discard_output() -> None:
    """Keep Python from writing to a stdout that cannot be written again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _how_to_continue(command: str) -> str:
    resumes = command in COMMANDS and hasattr(COMMANDS[command].settings, "resume")
    return "continue with --resume" if resumes else "run the same command again to continue"


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"fgsn {version('fgsn')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}'; {nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    if ranks.started() > 1 and not command.shared:
        able = " and ".join(name for name, other in COMMANDS.items() if other.shared)
        raise UsageError(f"fgsn {name} runs in one process: start it without torchrun, which is for {able}")
    settings, output = parse(name, arguments[1:])
    require_inputs(settings)
    module, _, function = command.function.partition(":")
    run: Callable[[config.Settings], Mapping[str, Any]] = getattr(importlib.import_module(module), function)
    results = run(settings)
    if ranks.first():
        _write(results, output.json)
    return 1 if results.get("failed") or results.get("problems") else 0


def _json(results: Mapping[str, Any]) -> str:
    """Results as JSON; ASCII only if it contains characters that a terminal obeys or stdout cannot encode."""
    text = json.dumps(results, indent=2, ensure_ascii=False, default=str)
    encoding = sys.stdout.encoding or "ascii"
    plain = text.encode(encoding, "ignore").decode(encoding) == text and text.replace("\n", "").isprintable()
    return text if plain else json.dumps(results, indent=2, default=str)


def parse(name: str, arguments: list[str]) -> tuple[config.Settings, Output]:
    """Convert the arguments of command `name` to its settings; flags override the values of --config."""
    import tyro

    settings = COMMANDS[name].settings
    arguments = _current_arguments(settings, arguments)
    values = _config_values(settings, arguments)
    invocation = tyro.cli(
        make_dataclass("Invocation", [*_options(settings, values), *_options(Output, {})], kw_only=True),
        prog=f"fgsn {name}",
        description=inspect.cleandoc(settings.__doc__ or ""),
        args=arguments,
    )
    given = dict(vars(invocation))
    output = Output(**{one.name: given.pop(one.name) for one in fields(Output)})
    return settings(**given), output


def require_inputs(settings: config.Settings) -> None:
    """Report a path that does not exist at once, before the command's module and its packages are imported.

    Raises:
        FgsnError: an input does not exist; the message says what it should be.
    """
    for name, path in settings.inputs():
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            kind = get_type_hints(type(settings), include_extras=True)[name]
            where = kind.__metadata__[0].metavar if get_origin(kind) is Annotated else flag(name)
            text = field_help(type(settings))[name].rstrip(".")
            raise FgsnError(f"{path} does not exist; {where}: {text}") from None
        except OSError:
            continue  # its reader knows more


def documented_fields(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The fields of a class that have a docstring: name, source, and docstring in one line."""
    for line, below in pairwise(getattr(node, "body", [])):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, ast.unparse(line), " ".join(text.split())


def field_help(owner: type) -> dict[str, str]:
    """The docstring of every field of a class, including those of its base classes."""
    classes = [ast.parse(inspect.getsource(one)).body[0] for one in reversed(owner.__mro__[:-1])]
    return {name: text for node in classes for name, _, text in documented_fields(node)}


def own_first(owner: type) -> list[Field[Any]]:
    """The fields of a dataclass, those of its base classes last."""
    bases = [{one.name for one in fields(base)} for base in owner.__mro__[1:-1]]
    return sorted(fields(owner), key=lambda one: sum(one.name in names for names in bases))


def _options(owner: type, values: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The fields of a class as tyro shows them, `own_first`; `values` replace their defaults."""
    from tyro import conf

    kinds, texts = get_type_hints(owner, include_extras=True), field_help(owner)
    for one in own_first(owner):
        kind, default = kinds[one.name], values.get(one.name, one.default)
        hint = "" if default is None else None  # the text says what None means
        arg = partial(conf.arg, help=texts[one.name], help_behavior_hint=hint)
        if markers := getattr(kind, "__metadata__", ()):
            kind = Annotated[kind, conf.Positional, arg(name="", metavar=markers[0].metavar)]
        else:
            kind = Annotated[kind, arg()]
        yield one.name, kind, field(default=default)


def _current_arguments(settings: type[config.Settings], arguments: list[str]) -> list[str]:
    """Replace old names and forms of flags by the current ones, with a notice on stderr."""
    old_names, comma_lists = OLD_NAMES.get(settings.__name__, {}), COMMA_LISTS.get(settings.__name__, ())
    current: list[str] = []
    key = ""
    for argument in arguments:
        name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if name:
            key = name[2:].replace("-", "_")
        if name and key in old_names:
            key = old_names[key]
            say(f"{name} is now {flag(key)}; the old name will go in the next version")
            name = flag(key)
        if key in comma_lists and "," in value:
            new = value.replace(",", " ")
            say(f"{flag(key)} {value} is now {flag(key)} {new}; the old form will go in the next version")
            current += [name][: len(name)] + new.split()
        else:
            current.append(name + equals + value)
    return current


def _config_values(settings: type[config.Settings], arguments: list[str]) -> dict[str, Any]:
    """The values of the YAML file that --config names, converted to the types of the fields."""
    path = None
    for argument, following in pairwise([*arguments, None]):
        if argument == "--config":
            path = following
        elif argument and argument.startswith("--config="):
            path = argument.partition("=")[2]
    return {} if path is None else from_yaml_values(settings, read_yaml(path), path, say)


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


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:<{width}}  {(command.settings.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()
    ]
    return "\n".join(
        [
            "fgsn: segmentation labels that survive the seasons, for long-term visual localization",
            "",
            *lines,
            "",
            "fgsn COMMAND --help lists the flags of a command.",
        ]
    )


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
