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
    "demo": Command(config.DemoSettings, "fgsn.demo:demo"),
    "world": Command(config.WorldSettings, "fgsn.data.world:make_world"),
    "prepare": Command(config.PrepareSettings, "fgsn.data.prepare:prepare"),
    "correspond": Command(config.CorrespondSettings, "fgsn.correspond.make:correspond"),
    "check": Command(config.CheckSettings, "fgsn.check:check"),
    "convert-vistas": Command(config.ConvertVistasSettings, "fgsn.data.vistas:convert_vistas"),
    "pretrain": Command(config.PretrainSettings, "fgsn.training.pretrain:pretrain"),
    "import": Command(config.ImportSettings, "fgsn.import_model:import_model"),
    "train": Command(config.TrainSettings, "fgsn.training.train:train", shared=True),
    "segment": Command(config.SegmentSettings, "fgsn.inference.segment:segment", shared=True),
    "stationary": Command(config.StationarySettings, "fgsn.evaluation.stationary:stationary"),
    "evaluate": Command(config.EvaluateSettings, "fgsn.evaluation.evaluate:evaluate"),
    "localize": Command(config.LocalizeSettings, "fgsn.localization.localize:localize"),
    "track": Command(config.TrackSettings, "fgsn.localization.track:track_sequences"),
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
    """Print results as a readable table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    plain = Table(show_header=False, box=None, pad_edge=False)
    for key, value in results.items():
        if isinstance(value, Mapping):
            continue
        if isinstance(value, (list, tuple)):
            value = "\n".join(str(item) for item in value) if value else "none"
        plain.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    if plain.row_count:
        console.print(plain)
    for key, value in results.items():
        if isinstance(value, Mapping) and value:
            console.print(_table(key, value))


def _table(title: str, rows: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    if all(isinstance(row, Mapping) for row in rows.values()):
        columns = list(
            dict.fromkeys(name for row in rows.values() for name, cell in row.items() if not isinstance(cell, Mapping))
        )
        cells = {(name, column): _cell(row.get(column, "")) for name, row in rows.items() for column in columns}
        if len(columns) > len(rows):  # the longer side goes down the page
            for heading in ("", *rows):
                table.add_column(heading, no_wrap=not heading)
            for column in columns:
                table.add_row(column, *(cells[name, column] for name in rows))
        else:
            for heading in ("", *columns):
                table.add_column(heading)
            for name in rows:
                table.add_row(name, *(cells[name, column] for column in columns))
    else:
        table.show_header = False
        for name, value in rows.items():
            table.add_row(name, _cell(value))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return " ".join(_cell(item) for item in value)
    return str(value)


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
