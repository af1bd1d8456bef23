"""fgsn sweep: a list of experiments, one after another, each a training and its evaluation; ends with one table.

The list is a YAML file:

    train: {data: world, iterations: 400}         # settings of `fgsn train` that all runs share
    evaluate: {resamples: 0}                      # settings of `fgsn evaluate`; data is the training's unless given
    grid:                                         # every combination of these is a run
      clusters: [20, 100]
      corr_weight: {without: 0, with: 1}          # names for values, where those say little
    runs:                                         # and runs one by one, by what is different about them
      bright: {colour_jitter: 0.8}
"""

import csv
import io
import itertools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgsn.config import EvaluateSettings, SweepSettings, TrainSettings, from_plain, require
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.evaluation.evaluate import evaluate
from fgsn.files import read_json, read_yaml, write_json, write_text, write_yaml
from fgsn.progress import say
from fgsn.training.run import MAY_DIFFER
from fgsn.training.train import train

SECTIONS = ("train", "evaluate", "grid", "runs")
METRICS = (
    "information_bits",
    "information_bits_permutation",
    "information_bits_heldout",
    "kappa",
    "match_lift",
    "clusters_used",
)
"""The label metrics that the table shows; evaluate/results.json of a run has all."""
SHORT = ("information_bits", "kappa", "match_lift", "clusters_used", "cpu_seconds")
"""What fits a terminal."""


@dataclass(frozen=True)
class Experiment:
    """One run: what it is called, where it stands in the grid, and the settings of both its steps."""

    name: str
    axes: dict[str, Any]
    """The label of its value on every axis of the grid."""
    train: TrainSettings
    evaluate: EvaluateSettings

    @property
    def folder(self) -> Path:
        """Where the run lives: train/, evaluate/ and, once it is finished, results.json."""
        return self.train.out.parent


def sweep(settings: SweepSettings) -> dict[str, Any]:
    """Run the experiments of a list that are not finished yet, and write the table of all.

    Writes OUT/<name>/ for each run, and `results.json`, `results.csv` and `results.md` with a row for each that is
    finished; they are written anew after every run.

    Returns:
        `runs`, the row of each finished run in short; `failed`, one line for each other; and where the whole table is.

    Raises:
        FgsnError: the list is missing or a setting in it is unknown or out of range; then nothing has run.
    """
    experiments = read_experiments(settings)
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    rows: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for number, experiment in enumerate(experiments, 1):
        say(f"== {experiment.name} ({number} of {len(experiments)})")
        try:
            rows[experiment.name] = _finished(experiment)
        except FgsnError as error:
            failed.append(f"{experiment.name}: {error}")
        except Exception as error:  # out of memory, say: the other runs may fit
            failed.append(f"{experiment.name}: {type(error).__name__}: {error}")
        write_tables(settings.out, rows, failed)
    short = {name: {key: row[key] for key in SHORT} for name, row in rows.items()}
    return {"runs": short, "failed": failed, "table": str(settings.out / "results.md")}


def read_experiments(settings: SweepSettings) -> list[Experiment]:
    """The runs of a list, their settings checked."""
    where = settings.experiments
    sections = read_yaml(where)
    for section, content in sections.items():
        require(section in SECTIONS, f"{where}: unknown section '{section}'; {nearest(str(section), SECTIONS)}")
        require(isinstance(content, Mapping), f"{where}: '{section}' should be a mapping (key: value)")
    train_common, evaluate_common = sections.get("train", {}), sections.get("evaluate", {})
    experiments = []
    for name, axes, differences in _runs(sections, where):
        require(
            re.fullmatch(r"\w[\w.+-]{0,199}", name) is not None,
            f"{where}: '{name}' cannot name a folder; give the values names, as in {{one: {name}}}",
        )
        folder = settings.out / name
        common = {"seed": settings.seed, "device": settings.device}
        values = {**common, **train_common, **differences}
        for key in ("out", "resume"):
            require(key not in values, f"{where}: '{key}' is for the sweep to choose")
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
    require(bool(experiments), f"{where} names no runs: it wants a section 'grid' or 'runs'")
    names = [experiment.name for experiment in experiments]
    require(len(set(names)) == len(names), f"{where} names two runs alike: {max(names, key=names.count)}")
    return experiments


def _runs(sections: Mapping[str, Any], where: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, labels on the axes and differing settings of every run."""
    axes = []
    for key, values in sections.get("grid", {}).items():
        require(isinstance(values, (list, Mapping)) and bool(values), f"{where}: grid '{key}' should be a list")
        nested = [value for value in values if isinstance(value, (list, Mapping))]
        require(not nested, f"{where}: grid '{key}' holds {nested[:1]}, which wants a name: {{name: value}}")
        named = values if isinstance(values, Mapping) else {value: value for value in values}
        plain = not isinstance(values, Mapping)
        axes.append([(key, label, f"{key}{label}" if plain else str(label), named[label]) for label in named])
    for point in itertools.product(*axes) if axes else ():
        name = "-".join(word for _, _, word, _ in point)
        yield name, {key: label for key, label, _, _ in point}, {key: value for key, _, _, value in point}
    for name, differences in sections.get("runs", {}).items():
        differences = differences or {}
        require(isinstance(differences, Mapping), f"{where}: run '{name}' should be a mapping (key: value)")
        yield str(name), {}, dict(differences)


def _settings(kind: type[Any], values: Mapping[str, Any], where: str, **chosen: Any) -> Any:
    """Settings of a command from plain values and what the sweep chooses."""
    typed = from_plain(kind, values, where)
    try:
        return kind(**typed, **chosen)
    except UsageError as error:  # a value out of its range
        raise UsageError(f"{where}: {error}") from None
    except TypeError as error:  # a field without a default is not given, or given twice
        raise UsageError(f"{where}: {str(error).partition('() ')[2]}") from None


def _finished(experiment: Experiment) -> dict[str, Any]:
    """The row of an experiment: read where it is finished, else computed.

    Raises:
        FgsnError: it is finished, but with other settings; or a step of it fails.
    """
    done = experiment.folder / "results.json"
    if done.exists():
        before, now = read_yaml(experiment.train.out / "config.yaml"), experiment.train.as_dict()
        changed = [key for key in now if key not in MAY_DIFFER and before.get(key) != now[key]]
        if changed:
            raise FgsnError(f"{done} was made with other {', '.join(changed)}; choose another --out, or delete it")
        return read_json(done)
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
        "resumed": experiment.train.resume,  # the seconds are then those of the last part
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
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    write_text(out / "results.csv", text.getvalue())
    write_text(out / "results.md", markdown(columns, cells) + "".join(f"\nfailed: {line}\n" for line in failed))


def markdown(columns: list[str], rows: list[dict[str, Any]]) -> str:
    """A table in Markdown; numbers with three decimals at most."""
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        values = [row.get(column, "") for column in columns]
        lines.append([f"{value:.3f}" if isinstance(value, float) else str(value) for value in values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
