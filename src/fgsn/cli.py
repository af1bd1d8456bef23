"""The command `fgsn`: converts flags and YAML to settings, calls one function, and prints its results.

Nothing imports this module. Each command is a function `settings -> results` in the module named in `COMMANDS`. The
module is imported only when its command runs, so that `--help` stays fast.
"""

import contextlib
import difflib
import importlib
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_origin, get_type_hints

from fgsn import config, ranks
from fgsn.config.base import COMMA_LISTS, OLD_NAMES, flag, from_yaml_values
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.files import read_yaml
from fgsn.inputs import require_inputs, require_outputs
from fgsn.progress import say
from fgsn.tables import as_json, show
from fgsn.texts import field_help, own_first
from fgsn.threads import fitting_threads


@dataclass(frozen=True)
class Command:
    """One command: the class of its settings and its function."""

    settings: type[config.Settings]
    function: str
    """`module:name`."""
    shared: bool = False
    """Whether it can run in several processes, started by torchrun."""
    file: bool = False
    """Whether --out is a file; otherwise it is a folder."""


COMMANDS = {
    "demo": Command(config.DemoSettings, "fgsn.demo.demo:demo"),
    "start": Command(config.StartSettings, "fgsn.start:start"),
    "world": Command(config.WorldSettings, "fgsn.world:make_world"),
    "prepare": Command(config.PrepareSettings, "fgsn.data.prepare:prepare"),
    "correspond": Command(config.CorrespondSettings, "fgsn.correspond.correspond:correspond"),
    "check": Command(config.CheckSettings, "fgsn.checks.check:check"),
    "convert-vistas": Command(config.ConvertVistasSettings, "fgsn.data.convert_vistas:convert_vistas"),
    "pretrain": Command(config.PretrainSettings, "fgsn.training.pretrain:pretrain"),
    "import": Command(config.ImportSettings, "fgsn.inference.import_model:import_model", file=True),
    "train": Command(config.TrainSettings, "fgsn.training.train:train", shared=True),
    "segment": Command(config.SegmentSettings, "fgsn.inference.segment:segment", shared=True),
    "stationary": Command(config.StationarySettings, "fgsn.evaluation.stationary:stationary"),
    "evaluate": Command(config.EvaluateSettings, "fgsn.evaluation.evaluate:evaluate"),
    "retrieve": Command(config.RetrieveSettings, "fgsn.matching.retrieve:retrieve", file=True),
    "augment": Command(config.AugmentSettings, "fgsn.matching.augment:augment", file=True),
    "localize": Command(config.LocalizeSettings, "fgsn.localization.localize:localize", file=True),
    "track": Command(config.TrackSettings, "fgsn.tracking.track:track_sequences", file=True),
    "score-poses": Command(config.ScorePosesSettings, "fgsn.evaluation.score_poses:score_poses"),
    "report": Command(config.ReportSettings, "fgsn.report.page:report", file=True),
    "sweep": Command(config.SweepSettings, "fgsn.sweep:sweep"),
    "export": Command(config.ExportSettings, "fgsn.export.export:export"),
    "bench": Command(config.BenchSettings, "fgsn.bench.bench:bench", file=True),
    "info": Command(config.InfoSettings, "fgsn.inference.info:info"),
}


COMPLETION, SHELLS = "--print-completion", ("bash", "zsh", "tcsh")


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


def _write(results: Mapping[str, Any], json: bool) -> None:
    """Print the results.

    Raises:
        FgsnError: stdout cannot be written, such as to a full disk.
    """
    try:
        if json:
            print(as_json(results))
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
    if name == COMPLETION:
        _print_completion(arguments[1:])
        return 0
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}'; {nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    if ranks.started() > 1 and not command.shared:
        able = " and ".join(name for name, other in COMMANDS.items() if other.shared)
        raise UsageError(f"fgsn {name} runs in one process: start it without torchrun, which is for {able}")
    settings, output = parse(name, arguments[1:])
    require_inputs(settings)
    require_outputs(settings, command.file)
    module, _, function = command.function.partition(":")
    with fitting_threads():
        run: Callable[[config.Settings], Mapping[str, Any]] = getattr(importlib.import_module(module), function)
    results = run(settings)
    if ranks.first():
        _write(results, output.json)
        if failed := results.get("failed"):
            say(f"fgsn: {len(failed)} failed, first: {failed[0]}")
    return 1 if results.get("failed") or results.get("problems") else 0


def parse(name: str, arguments: list[str]) -> tuple[config.Settings, Output]:
    """Convert the arguments of command `name` to its settings; flags override the values of --config."""
    import tyro

    settings = COMMANDS[name].settings
    arguments = _current_arguments(settings, arguments)
    file = _config_file(arguments)
    values = {} if file is None else from_yaml_values(settings, read_yaml(file), file, say)
    options = _invocation(settings, values)
    _require_known(name, settings, [one.name for one in fields(options)], arguments)
    _require_single(settings, arguments)
    text = inspect.cleandoc(settings.__doc__ or "")
    with _one_line(name, file):
        invocation = tyro.cli(options, prog=f"fgsn {name}", description=text, args=arguments)
    given = dict(vars(invocation))
    output = Output(**{one.name: given.pop(one.name) for one in fields(Output)})
    return settings(**given), output


def _require_known(
    command: str, settings: type[config.Settings], names: Sequence[str], arguments: Sequence[str]
) -> None:
    """Raise UsageError for a flag that the command does not have, such as that of a value that is given without one."""
    kinds = get_type_hints(settings, include_extras=True).items()
    plain = {flag(name): kind.__metadata__[0].metavar for name, kind in kinds if get_origin(kind) is Annotated}
    known = [form for name in names for form in (flag(name), flag(f"no_{name}"))] + ["--help"]
    for argument in arguments:
        word = argument.partition("=")[0].replace("_", "-")
        if word.startswith("--") and word not in set(known) - set(plain) and not word.startswith("--tyro"):
            if word in plain:
                raise UsageError(f"give {plain[word]} without {word}: fgsn {command} {plain[word]} …")
            close = [one for one in known if one.startswith(word)] or difflib.get_close_matches(word, known, 1, 0.7)
            hint = (
                f"did you mean {close[0]}? " if close else "".join(f"{one} has no option; " for one in plain.values())
            )
            raise UsageError(f"no option {word}; {hint}fgsn {command} --help lists them")


def _require_single(settings: type[config.Settings], arguments: Sequence[str]) -> None:
    """Raise UsageError where a flag that takes one path is followed by several, as the shell makes of `*.jpg`."""
    kinds = get_type_hints(settings, include_extras=True)
    if any(get_origin(kind) is Annotated for kind in kinds.values()):
        return  # the second is a value without a flag
    paths = {flag(name): name for name, kind in kinds.items() if kind in (Path, Path | None)}
    for one, value, second in zip(arguments, arguments[1:], arguments[2:], strict=False):
        if one in paths and not value.startswith("-") and not second.startswith("-"):
            text = field_help(settings)[paths[one]].rstrip(".")
            raise UsageError(f"{one} takes one value, {value}, but {second} follows it; {one}: {text}")


@contextlib.contextmanager
def _one_line(command: str, file: str | None) -> Iterator[None]:
    """Turn tyro's box about wrong arguments, which spans many lines, into a UsageError."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        # A UTF-8 terminal gets lines and corners where another gets dashes and blanks.
        plain_box = re.sub(r"^╭─ (.*?) ─*╮$", rf"\1\n{'-' * 9}", box.getvalue(), flags=re.MULTILINE)
        plain_box = plain_box.translate(str.maketrans("│─╰╯", " ---"))
        parts = re.split(r"^ *-{9,} *$", plain_box, flags=re.MULTILINE)
        text = " ".join(parts[1 if len(parts) > 1 else 0].split())
        if "Missing from" in text:
            text = "missing: " + ", ".join(re.findall(r"^ {6}(\S+)", parts[1], re.MULTILINE))
            text += f", here and in {file}" if file else ""
        for theirs, plain in _PLAIN.items():
            text = re.sub(theirs, plain, text)
        raise UsageError(f"{text.rstrip('. ')}; fgsn {command} --help explains every option") from None


_PLAIN = {
    r".*Error parsing (--\S+): .*input length (\d+) did not match .* count (\d+).*": r"\1 takes \3 values, not \2",
    r"Missing value for argument '(--\S+)'\. Expected 1 values": r"\1 takes a value",
    r"Missing value for argument '(--\S+)'\. Expected (\d+) values": r"\1 takes \2 values",
    r"invalid choice (.+) for argument '(--\S+)'\. Expected one of \((.+?),?\)": r"\2 must be one of \3, not \1",
    r"'None', |, 'None'": "",
    r"Error parsing ": "",
    r"invalid literal for int\(\) with base 10: ": "not a whole number: ",
    r"could not convert string to float: ": "not a number: ",
    r"Unrecognized options: ": "too many values: ",
}
"""Messages of tyro and Python, and plainer ones."""


def _invocation(settings: type[config.Settings], values: Mapping[str, Any]) -> type[Any]:
    """All flags of a command as one class for tyro; `values` replace defaults."""
    return make_dataclass("Invocation", [*_options(settings, values), *_options(Output, {})], kw_only=True)


def _print_completion(shell: Sequence[str]) -> None:
    """Print the script with which a shell completes commands and flags.

    Raises:
        UsageError: not one of the shells.
    """
    from tyro.extras import subcommand_cli_from_dict

    if list(shell) not in [[name] for name in SHELLS]:
        raise UsageError(f"{COMPLETION} takes one of {', '.join(SHELLS)}")
    commands = {name: _invocation(command.settings, {}) for name, command in COMMANDS.items()}
    with contextlib.suppress(SystemExit):  # as tyro ends
        subcommand_cli_from_dict(commands, prog="fgsn", args=["--tyro-print-completion", *shell])


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


def _config_file(arguments: list[str]) -> str | None:
    """The YAML file that --config names."""
    path = None
    for argument, following in pairwise([*arguments, None]):
        if argument == "--config":
            path = following
        elif argument and argument.startswith("--config="):
            path = argument.partition("=")[2]
    return path


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
            f"fgsn {COMPLETION} {'|'.join(SHELLS)} prints a script for completion in that shell.",
        ]
    )


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
