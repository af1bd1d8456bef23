"""fgsn sweep: run a list of experiments one after another, each a training and its evaluation, and write one table.

The list is a YAML file:

    train: {data: world, iterations: 400}         # settings of `fgsn train` that all runs share
    evaluate: {resamples: 0}                      # settings of `fgsn evaluate`; data defaults to that of the training
    grid:                                         # every combination of these is a run
      clusters: [20, 100]
      corr_weight: {without: 0, with: 1}          # names for values that are not clear by themselves
    runs:                                         # single runs, by the settings in which they differ
      bright: {colour_jitter: 0.8}
"""

import itertools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgsn.config import EvaluateSettings, SweepSettings, TrainSettings, from_yaml_values, require
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.evaluation.evaluate import evaluate
from fgsn.files import read_json, read_yaml, write_json, write_text, write_yaml
from fgsn.inputs import require_inputs
from fgsn.progress import say
from fgsn.tables import as_csv
from fgsn.training.run import changed_settings
from fgsn.training.train import train

SECTIONS = ("train", "evaluate", "grid", "runs")
METRICS = (
    "kappa_position_controlled",
    "match_lift_position_controlled",
    "information_bits_position_controlled",
    "information_bits_same_view",
    "information_bits_permutation",
    "kappa",
    "match_lift",
    "clusters_used",
)
"""Label metrics in the table; evaluate/results.json of each run contains all of them."""
SHORT = ("kappa_position_controlled", "information_bits_position_controlled", "kappa", "clusters_used", "cpu_seconds")
"""Columns that fit a terminal."""


@dataclass(frozen=True)
class Experiment:
    """One run: its name, its place in the grid, and the settings of its training and evaluation."""

    name: str
    axes: dict[str, Any]
    """Name of the value on each axis of the grid."""
    train: TrainSettings
    evaluate: EvaluateSettings

    @property
    def folder(self) -> Path:
        """Folder with train/, evaluate/ and, once the run is finished, results.json."""
        return self.train.out.parent


def sweep(settings: SweepSettings) -> dict[str, Any]:
    """Run the unfinished experiments of a list, and write a table of all of them.

    Writes OUT/<name>/ for each run, and after every run `results.json`, `results.csv` and `results.md` with a row for
    each finished run.

    Returns:
        `runs`: a short row for each finished run; `failed`: one line for each other run; `table`: path of the table.

    Raises:
        FgsnError: the list is missing, or a setting in it is unknown or out of range; nothing has run then.
    """
    experiments = read_experiments(settings)
    for experiment in experiments:  # before hours of training
        require_inputs(experiment.train)
        require_inputs(experiment.evaluate, later=("model",))
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    rows: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for number, experiment in enumerate(experiments, 1):
        say(f"== {experiment.name} ({number} of {len(experiments)})")
        try:
            rows[experiment.name] = _finished(experiment)
        except FgsnError as error:
            failed.append(f"{experiment.name}: {error}")
        except Exception as error:  # such as out of memory: the other runs may fit
            failed.append(f"{experiment.name}: {type(error).__name__}: {error}")
        write_tables(settings.out, rows, failed)
    short = {name: {key: row[key] for key in SHORT} for name, row in rows.items()}
    return {"runs": short, "failed": failed, "table": str(settings.out / "results.md")}


def read_experiments(settings: SweepSettings) -> list[Experiment]:
    """Read the runs of a list; FgsnError if it is missing, or a setting in it is unknown or out of range."""
    where = settings.experiments
    sections = read_yaml(where)
    listed = isinstance(sections.get("runs"), list)
    require(not listed, f"{where}: 'runs' should have a name for each run, such as {{fifty: {{clusters: 50}}}}")
    for section, content in sections.items():
        require(section in SECTIONS, f"{where}: unknown section '{section}'; {nearest(str(section), SECTIONS)}")
        require(isinstance(content, Mapping), f"{where}: '{section}' should be a mapping (key: value)")
    train_common, evaluate_common = sections.get("train", {}), sections.get("evaluate", {})
    experiments = []
    for name, axes, differences in _runs(sections, where):
        require(
            re.fullmatch(r"\w[\w.+-]{0,199}", name) is not None,
            f"{where}: '{name}' cannot be the name of a folder; name the values, as in {{one: {name}}}",
        )
        folder = settings.out / name
        common = {"seed": settings.seed, "device": settings.device}
        values = {**common, **train_common, **differences}
        for key in ("out", "resume"):
            require(key not in values, f"{where}: leave out '{key}', which the sweep sets itself")
        data = values.get("data", [])
        sets = data if isinstance(data, list) else [data]
        same_set = {"data": sets[0]} if len(sets) == 1 else {}
        evaluation = {**common, **same_set, **evaluate_common}
        resume = (folder / "train" / "config.yaml").exists()
        experiments.append(
            Experiment(
                name,
                axes,
                _settings(TrainSettings, values, f"{where}, {name}", out=folder / "train", resume=resume),
                _settings(
                    EvaluateSettings,
                    evaluation,
                    f"{where}, evaluate",
                    model=folder / "train",
                    out=folder / "evaluate",
                ),
            )
        )
    require(bool(experiments), f"{where} contains no runs: it requires a section 'grid' or 'runs'")
    names = [experiment.name for experiment in experiments]
    require(len(set(names)) == len(names), f"{where} contains two runs of the same name: {max(names, key=names.count)}")
    return experiments


def _runs(sections: Mapping[str, Any], where: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, named values on the axes, and own settings of every run."""
    axes = []
    for key, values in sections.get("grid", {}).items():
        require(isinstance(values, (list, Mapping)) and bool(values), f"{where}: grid '{key}' should be a list")
        nested = [value for value in values if isinstance(value, (list, Mapping))]
        require(not nested, f"{where}: grid '{key}' contains {nested[:1]}, which requires a name: {{name: value}}")
        named = values if isinstance(values, Mapping) else {value: value for value in values}
        prefix = "" if isinstance(values, Mapping) else key
        axes.append([(key, label, f"{prefix}{label}", value) for label, value in named.items()])
    for point in itertools.product(*axes) if axes else ():
        name = "-".join(word for _, _, word, _ in point)
        yield name, {key: label for key, label, _, _ in point}, {key: value for key, _, _, value in point}
    for name, differences in sections.get("runs", {}).items():
        differences = differences or {}
        require(isinstance(differences, Mapping), f"{where}: run '{name}' should be a mapping (key: value)")
        yield str(name), {}, dict(differences)


def _settings(kind: type[Any], values: Mapping[str, Any], where: str, **chosen: Any) -> Any:
    """Settings of a command from YAML values and those that the sweep sets."""
    typed = from_yaml_values(kind, values, where)
    try:
        return kind(**typed, **chosen)
    except UsageError as error:  # a value out of its range
        raise UsageError(f"{where}: {error}") from None
    except TypeError as error:  # a required field is missing or given twice
        raise UsageError(f"{where}: {str(error).partition('() ')[2]}") from None


def _finished(experiment: Experiment) -> dict[str, Any]:
    """The row of an experiment: read if it is finished (FgsnError if with other settings), computed otherwise."""
    done = experiment.folder / "results.json"
    if done.exists():
        before, now = read_yaml(experiment.train.out / "config.yaml"), experiment.train.as_dict()
        if changed := changed_settings(before, now):
            raise FgsnError(
                f"{done} was made with other settings ({', '.join(changed)}): choose another --out, or delete it"
            )
        row = read_json(done)
        if missing := [key for key in METRICS if key not in row]:
            raise FgsnError(f"{done} lacks {', '.join(missing)}: delete it to repeat this run")
        return row
    wall, cpu = time.monotonic(), time.process_time()
    train(experiment.train)
    trained = time.monotonic()
    metrics = evaluate(experiment.evaluate)
    row = {
        **experiment.axes,
        **{key: metrics[key] for key in METRICS},
        "train_seconds": round(trained - wall, 1),
        "evaluate_seconds": round(time.monotonic() - trained, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "resumed": experiment.train.resume,  # if so, the seconds are those since the last start
    }
    if metrics["failed"]:
        raise FgsnError(f"{len(metrics['failed'])} images could not be evaluated, first: {metrics['failed'][0]}")
    write_json(done, row)
    return row


def write_tables(out: Path, rows: Mapping[str, Mapping[str, Any]], failed: list[str]) -> None:
    """Write the rows as results.json, results.csv and results.md."""
    write_json(out / "results.json", {"runs": rows, "failed": failed})
    columns = ["run", *dict.fromkeys(key for row in rows.values() for key in row)]
    cells = [{"run": name, **row} for name, row in rows.items()]
    write_text(out / "results.csv", as_csv(columns, cells))
    write_text(out / "results.md", markdown(columns, cells) + "".join(f"\nfailed: {line}\n" for line in failed))


def markdown(columns: list[str], rows: list[dict[str, Any]]) -> str:
    """A Markdown table; floats have three decimals."""
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        values = [row.get(column, "") for column in columns]
        lines.append([f"{value:.3f}" if isinstance(value, float) else str(value) for value in values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
