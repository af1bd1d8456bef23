"""fgsn export: a model, or labels that it made, in the formats of other programs."""

from collections.abc import Container
from typing import Any

import numpy as np

from fgsn.config import ExportSettings
from fgsn.errors import FgsnError
from fgsn.export.hloc_features import write_hloc_features
from fgsn.export.label_points import write_colmap, write_ply
from fgsn.export.network_files import write_networks
from fgsn.files import write_json, write_yaml
from fgsn.geometry.colmap import read_model
from fgsn.inference.model import MODEL_FILE, Model, load
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.map_folder import map_facts, save_map


def export(settings: ExportSettings) -> dict[str, Any]:
    """Write every format that is asked for; returns what was written.

    Raises:
        FgsnError: the model or what goes with a format is missing or broken, or two of them do not go together.
    """
    wanted = set(settings.format)
    model = load(settings.model, "cpu" if wanted & {"onnx", "torch"} else settings.device)
    results: dict[str, Any] = {}
    if wanted & {"onnx", "torch"}:
        results |= write_networks(model, settings)
    if "hub" in wanted:
        model.save_pretrained(settings.out / "hub")
        results["hub"] = {"files": [str(settings.out / "hub" / name) for name in (MODEL_FILE, "README.md")]}
    if "hloc" in wanted:
        assert settings.images is not None
        assert settings.keypoints is not None
        results["hloc"] = write_hloc_features(model, settings.images, settings.keypoints, settings.out / "features.h5")
    if wanted & {"ply", "colmap", "map"}:
        results |= _map_of_labels(model, settings, wanted)
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results


def _map_of_labels(model: Model, settings: ExportSettings, wanted: Container[str]) -> dict[str, Any]:
    """Write the map as PLY, as COLMAP model or as map folder."""
    assert settings.map is not None
    assert settings.map_labels is not None
    stationary = None if model.stationary is None else np.asarray(model.stationary, bool)
    labelled = make_labelled_map(read_model(settings.map), settings.map_labels, stationary)
    if labelled.clusters != model.clusters:
        raise FgsnError(
            f"{settings.map_labels} has {labelled.clusters} labels, but {settings.model} has {model.clusters}; "
            "give the model that made the label maps"
        )
    colours, results = model.palette, {}
    facts = map_facts(labelled)
    facts = {key: facts[key] for key in ("points", "points_with_label", "labels_used")}
    if "ply" in wanted:
        write_ply(settings.out / "labels.ply", labelled, colours)
        results["ply"] = {"file": str(settings.out / "labels.ply"), **facts}
    if "map" in wanted:
        save_map(settings.out / "map", labelled)
        results["map"] = {"folder": str(settings.out / "map"), **facts}
    if "colmap" in wanted:
        write_colmap(settings.out / "colmap", labelled, colours)
        results["colmap"] = {"folder": str(settings.out / "colmap"), **facts}
    return results
