"""The command `fgsn`: turns flags and YAML into settings, calls one function, and shows what it returns.

Nothing imports this module. Each command is a function `settings -> results` in the module named in `COMMANDS`;
the module is imported only when its command runs, so that `--help` stays quick.
"""

import importlib
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, make_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fgsn import config, ranks
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.files import read_yaml
from fgsn.progress import say


@dataclass(frozen=True)
class Command:
    """One command: its settings and where its function lives."""

    settings: type[config.Settings]
    function: str
    shared: bool = False
    """Whether several processes, started by torchrun, share its work."""


COMMANDS = {
    "demo": Command(config.DemoSettings, "fgsn.demo.demo:demo"),
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
    """How results and failures are shown."""

    config: Path | None = None
    """YAML file with settings of this command; flags win over it."""
    json: bool = False
    """Print the results as JSON on stdout, and nothing else."""
    debug: bool = False
    """Show the traceback of a failure."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `fgsn`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(_run(arguments))
    except FgsnError as error:
        if debug:
            raise
        say(f"fgsn: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        say(f"fgsn: interrupted; what was finished is saved, and {_how_to_go_on(arguments[0])}")
        sys.exit(143 if stop.args == ("SIGTERM",) else 130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"fgsn: internal error, {type(error).__name__}: {error} (please report it; --debug shows where)")
        sys.exit(1)


def _how_to_go_on(command: str) -> str:
    resumes = command in COMMANDS and hasattr(COMMANDS[command].settings, "resume")
    return "--resume goes on with it" if resumes else "the same command goes on with it"


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
        raise UsageError(f"fgsn {name} works in one process: start it without torchrun, which is for {able}")
    settings, output = parse(name, arguments[1:])
    module, _, function = command.function.partition(":")
    run: Callable[[config.Settings], Mapping[str, Any]] = getattr(importlib.import_module(module), function)
    results = run(settings)
    if not ranks.first():
        pass  # the first tells the results of all
    elif output.json:
        print(json.dumps(results, indent=2, ensure_ascii=False, default=str))
    else:
        show(results)
    return 1 if results.get("failed") or results.get("problems") else 0


def parse(name: str, arguments: list[str]) -> tuple[config.Settings, Output]:
    """Turn the arguments of command `name` into its settings; values of --config stand below the flags."""
    import tyro

    command = COMMANDS[name]
    values = _config_values(command, arguments)
    invocation_type = make_dataclass("Invocation", [("settings", command.settings), ("output", Output)])
    # Placeholders for what the user must give; made without __init__, which would check their ranges.
    template = object.__new__(command.settings)
    for field in fields(command.settings):
        default = tyro.MISSING if field.default is MISSING else field.default
        object.__setattr__(template, field.name, values.get(field.name, default))
    invocation = tyro.cli(
        invocation_type,
        prog=f"fgsn {name}",
        description=command.settings.__doc__,
        args=arguments,
        default=invocation_type(template, Output()),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return invocation.settings, invocation.output


def show(results: Mapping[str, Any]) -> None:
    """Print results as readable tables, in full: what does not fit beside goes below, and a terminal wraps the rest."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    plain = {key: value for key, value in results.items() if not isinstance(value, Mapping)}
    width = max(map(len, plain), default=0) + 2
    for key, value in plain.items():
        text = f"{value:.4g}" if isinstance(value, float) else _lines(key, value)
        print(f"{key:<{width}}" + text.replace("\n", "\n" + " " * width))
    for key, value in results.items():
        if isinstance(value, Mapping) and value:
            console.print(*_tables(key, value, console.width))


def _lines(name: str, value: Any) -> str:
    """A value with an entry of a list a line, save for metrics."""
    if not isinstance(value, (list, tuple)) or (value and all(isinstance(item, float) for item in value)):
        return _cell(name, value)
    return "\n".join(map(str, value)) or "none"


def _tables(title: str, rows: Mapping[str, Any], width: int) -> list[Any]:
    """The rows as a table, its columns in several if they do not fit into the width."""
    from rich.table import Table

    if all(isinstance(row, Mapping) for row in rows.values()):
        names = list(
            dict.fromkeys(name for row in rows.values() for name, cell in row.items() if not isinstance(cell, Mapping))
        )
        columns = [[name, *(_cell(name, row.get(name, "")) for row in rows.values())] for name in names]
        columns.insert(0, ["", *rows])
        if len(names) > len(rows):  # the longer side goes down the page
            columns = [list(column) for column in zip(*columns, strict=True)]
    else:
        columns = [["", *rows], ["", *(_cell(name, value) for name, value in rows.items())]]
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
    """A value for people; lists of metrics are percents or, by their name, the ends of an interval."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(key, item)}" for key, item in value.items())
    if not isinstance(value, (list, tuple)):
        return str(value)
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
            "fgsn COMMAND --help tells the flags of a command.",
        ]
    )


def _config_values(command: Command, arguments: list[str]) -> dict[str, Any]:
    """The values of the YAML file named by --config, checked and turned into the fields' types."""
    path = None
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            path = arguments[position + 1]
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
    if path is None:
        return {}
    return config.from_plain(command.settings, read_yaml(path), path)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
