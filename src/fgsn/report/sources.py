"""Inputs of a page: the files of a run or of a demo, and the data set that they were evaluated on."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.config import EvaluateSettings, ReportSettings
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset, metres_per_unit
from fgsn.errors import FgsnError
from fgsn.evaluation.evaluate import evaluate
from fgsn.evaluation.measure import measure
from fgsn.files import read_json, read_yaml
from fgsn.inference.label_lookup import find_label_map
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import Model, load
from fgsn.inference.origin import belongs_to
from fgsn.inference.packaged import FILES as PACKAGED

RESAMPLES = 200
DEMO_MODELS = {
    "base": "base network's classes",
    "start": "start network, {clusters} labels",
    "fgsn_without_corr": "{clusters} labels, without L_corr",
    "fgsn": "{clusters} labels, with L_corr",
}
"""Names of the demo's models on the page; the last one is shown in detail."""


@dataclass(frozen=True, eq=False)
class ModelLabels:
    """The label maps of one model, and their metrics."""

    name: str
    """Name on the page."""
    folder: Path
    """Folder of the label maps."""
    metrics: dict[str, Any]
    """Results of `fgsn evaluate`."""
    model: Model | None = None
    """The model; None if its file no longer exists."""

    @property
    def palette(self) -> NDArray[np.uint8] | None:
        """(K, 3) colours of the labels; None for the palettes of the label maps."""
        return None if self.model is None else self.model.palette

    @property
    def names(self) -> list[str]:
        """Names of the labels: names of classes, or numbers of clusters."""
        return [] if self.model is None else list(self.model.classes or map(str, range(self.model.clusters)))


@dataclass(frozen=True, eq=False)
class ReportSources:
    """Everything that the sections of the page read."""

    run: Path
    config: dict[str, Any]
    """Settings of the run; empty for a demo."""
    results: dict[str, Any]
    """results.json of the run or demo; empty without one."""
    metrics: dict[str, Path]
    """`metrics.jsonl` files by name of the run."""
    dataset: Dataset | None = None
    pairs: list[Correspondences] = field(default_factory=list)
    """Validation pairs."""
    labelled: list[ModelLabels] = field(default_factory=list)
    """One per model; the last one is shown in detail."""
    localization: Path | None = None
    """Folder of result files of `fgsn localize`."""
    metres_per_unit: float | None = None
    """Scale of the poses; None if unknown."""
    left_out: list[str] = field(default_factory=list)
    """Reasons for missing sections of the page."""

    @property
    def model(self) -> Model | None:
        """The model that is shown in detail."""
        return self.main.model if self.main else None

    @property
    def main(self) -> ModelLabels | None:
        """The labels that are shown in detail."""
        return self.labelled[-1] if self.labelled else None

    def label_map(self, labelled: ModelLabels, image: Path) -> Path | None:
        """The label map of an image of the data set; None if there is none."""
        return None if self.dataset is None else find_label_map(labelled.folder, self.dataset.name(image))

    def labels(self, image: Path) -> NDArray[np.int32]:
        """The label map of an image by the main model; FgsnError if it is missing or of another image or model."""
        assert self.main is not None
        file = self.label_map(self.main, image)
        if file is None:
            raise FgsnError(f"{self.main.folder} has no label map of {image}; run fgsn segment on the images")
        labels, clusters = read_label_map(file)
        if self.model is not None and clusters != self.model.clusters:
            raise FgsnError(
                f"{file} has {clusters} labels, but the model has {self.model.clusters}; use label maps of that model"
            )
        if not belongs_to(file, image):
            raise FgsnError(f"{file} is incomplete or was made from another image than {image}; run fgsn segment again")
        return labels


def open_sources(settings: ReportSettings) -> ReportSources:
    """Find the files of a run or demo.

    Raises FgsnError if the folder is neither, a file named in the settings is missing, or a file is broken.
    """
    run = settings.run
    if not run.is_dir():
        raise FgsnError(f"{run} is not a folder; pass a run folder or the output folder of fgsn demo")
    if (run / "run" / "metrics.jsonl").is_file():
        raise FgsnError(f"{run} is a folder of fgsn start; pass its run: fgsn report {run / 'run'}")
    localization = settings.localization or run / "localization"
    if settings.localization and not localization.is_dir():
        raise FgsnError(f"{localization} is not a folder; pass the folder with the result files of fgsn localize")
    results = read_report_results(run / "results.json") if (run / "results.json").is_file() else {}
    found = localization if localization.is_dir() else None
    is_run = (run / "metrics.jsonl").is_file()
    labels = results.get("labels")
    if isinstance(labels, dict) and not is_run:
        if labels and all(name.isdecimal() for name in labels):
            raise FgsnError(f"{run} was written by fgsn stationary; give the run of fgsn train that it was made from")
        return _demo(settings, results, found)
    if not is_run:
        raise FgsnError(f"{run} contains neither a run (metrics.jsonl) nor a demo (results.json with labels)")
    return _run(settings, results, found)


def read_report_results(path: Path) -> dict[str, Any]:
    """The contents of results.json; FgsnError if it is damaged, or a section is not as `fgsn demo` writes it."""
    results = read_json(path)
    labels, poses, seconds = (results.get(key, {}) for key in ("labels", "localization", "seconds"))
    if not (_maps(labels, dict) and _maps(poses, dict) and _maps(seconds, (int, float))):
        raise FgsnError(f"{path}: 'labels', 'localization' or 'seconds' is not as fgsn demo writes it")
    for name, row in labels.items():
        if not (row and _maps(row.get("conditions") or {}, dict)):
            raise FgsnError(f"{path}: the metrics of '{name}' under 'labels' are not as fgsn demo writes them")
    for name, row in poses.items():
        if not all(isinstance(one, list) and all(isinstance(n, (int, float)) for n in one) for one in row.values()):
            raise FgsnError(f"{path}: the recall of '{name}' under 'localization' is not as fgsn demo writes it")
    return results


def _maps(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is a mapping to values of some types."""
    return isinstance(value, dict) and all(isinstance(one, kind) for one in value.values())


def _demo(settings: ReportSettings, results: dict[str, Any], localization: Path | None) -> ReportSources:
    run = settings.run
    metrics = {key: row for key, row in results["labels"].items() if key != "grid"}  # no model: see `controls`
    order = [key for key in DEMO_MODELS if key in metrics] or list(metrics)
    if not order:
        raise FgsnError(f"{run / 'results.json'} contains no metrics of a model under 'labels'")
    names = {
        key: DEMO_MODELS.get(key, "{name}").format(name=key, clusters=metrics[key].get("clusters")) for key in order
    }
    dataset = Dataset.open(settings.data or run / "world")
    stationary = run / "stationary" / "model.safetensors"
    model = load(stationary if stationary.is_file() else run / order[-1], settings.device)
    evaluations = {key: run / f"evaluate_{key}" for key in order}
    if settings.labels:
        evaluations[order[-1]] = settings.labels
    left_out: list[str] = []
    return ReportSources(
        run=run,
        config={},
        results=results,
        metrics={names[key]: run / key / "metrics.jsonl" for key in order if (run / key / "metrics.jsonl").is_file()},
        dataset=dataset,
        pairs=_pairs(dataset, evaluations[order[-1]], left_out),
        labelled=[
            ModelLabels(
                names[key],
                evaluations[key],
                metrics[key],
                model if key == order[-1] else _evaluated_model(metrics[key]),
            )
            for key in order
        ],
        localization=localization,
        metres_per_unit=settings.metres_per_unit or metres_per_unit(dataset.root),
        left_out=left_out,
    )


def _evaluated_model(metrics: dict[str, Any]) -> Model | None:
    """The model that the metrics belong to, if its file still exists."""
    path = Path(str(metrics.get("model", "")))
    return load(path, "cpu") if str(path) in PACKAGED or path.is_file() else None


def _run(settings: ReportSettings, results: dict[str, Any], localization: Path | None) -> ReportSources:
    run = settings.run
    config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    base = ReportSources(run, config, results, {run.resolve().name: run / "metrics.jsonl"}, localization=localization)
    if not (run / "model.safetensors").is_file():
        base.left_out.append("labels, places, clusters: the run has not finished yet")
        return base
    try:
        dataset = Dataset.open(settings.data or _trained_on(config))
        dataset.pairs("validation")
    except FgsnError as error:
        if settings.data:
            raise
        base.left_out.append(f"labels, places, clusters: {error} (pass --data to use another data set)")
        return base
    model = load(run, settings.device)
    folder = settings.labels or run / "evaluate"
    metrics: dict[str, Any] = {}
    if settings.labels is None:
        init = Path(str(config.get("init")))
        common: dict[str, Any] = {"seed": settings.seed, "device": settings.device}
        common["baseline"] = init if str(init) in PACKAGED or init.exists() else None
        metrics = evaluate(EvaluateSettings(model=run, data=dataset.root, out=folder, **common))
    pairs = _pairs(dataset, folder, base.left_out)
    metrics = metrics or _metrics(folder, dataset, pairs, model)
    labelled = ModelLabels(f"{model.clusters} {'classes' if model.classes else 'labels'}", folder, metrics, model)
    scale = settings.metres_per_unit or metres_per_unit(dataset.root)
    return replace(base, dataset=dataset, pairs=pairs, labelled=[labelled], metres_per_unit=scale)


def _trained_on(config: dict[str, Any]) -> Path:
    data = config.get("data")
    names = [data] if isinstance(data, str) else data if isinstance(data, list) else []
    if not names:
        raise FgsnError("config.yaml does not name a data set")
    return Path(str(names[0]))


def _pairs(dataset: Dataset, folder: Path, left_out: list[str]) -> list[Correspondences]:
    """The validation pairs of which both images have a label map."""
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs("validation")]
    there = [
        pair
        for pair in pairs
        if all(find_label_map(folder, dataset.name(image)) for image in (pair.reference, pair.target))
    ]
    if pairs and not there:
        example = dataset.name(pairs[0].reference)
        raise FgsnError(f"{folder} has no label map of {example}; run fgsn segment on {dataset.images}")
    if not pairs:
        raise FgsnError(f"{dataset.root} has no validation pairs; run fgsn prepare {dataset.root}")
    if len(there) < len(pairs):
        left_out.append(f"{len(pairs) - len(there)} of {len(pairs)} pairs: label maps are missing in {folder}")
    return there


def _metrics(folder: Path, dataset: Dataset, pairs: list[Correspondences], model: Model) -> dict[str, Any]:
    """Metrics of label maps given by `--labels`."""
    shown = ModelLabels("", folder, {}, model)
    labels = ReportSources(Path(), {}, {}, {}, dataset, labelled=[shown]).labels
    metrics = measure(labels, pairs, model.clusters, dataset.place, dataset.condition, RESAMPLES)
    grid = {"clusters": model.clusters, **metrics.pop("grid")}
    return {"clusters": model.clusters, **metrics, "controls": {"grid": grid}}
