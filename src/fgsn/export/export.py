"""fgsn export: a model or its labels in the formats of other programs."""

from collections.abc import Container
from typing import Any

import numpy as np

from fgsn.config import ExportSettings, LocalizeSettings
from fgsn.errors import FgsnError
from fgsn.export.hloc_features import write_hloc_features
from fgsn.export.label_points import write_colmap, write_ply
from fgsn.export.network_files import write_networks
from fgsn.files import write_json, write_yaml
from fgsn.geometry.colmap import read_model
from fgsn.inference.label_lookup import first_label_map
from fgsn.inference.model import MODEL_FILE, Model, load
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.map_folder import map_facts, save_map


def export(settings: ExportSettings) -> dict[str, Any]:
    """Write every requested format; returns what was written.

    Raises FgsnError if the model or an input of a format is missing or broken, or the inputs do not match.
    """
    formats = set(settings.format)
    model = load(settings.model, "cpu" if formats & {"onnx", "torch"} else settings.device)
    results: dict[str, Any] = {}
    if formats & {"onnx", "torch"}:
        results |= write_networks(model, settings)
    if "hub" in formats:
        model.save_pretrained(settings.out / "hub")
        results["hub"] = {"files": [str(settings.out / "hub" / name) for name in (MODEL_FILE, "README.md")]}
    if "hloc" in formats:
        assert settings.images is not None
        assert settings.keypoints is not None
        results["hloc"] = write_hloc_features(model, settings.images, settings.keypoints, settings.out / "features.h5")
    if formats & {"ply", "colmap", "map"}:
        results |= _write_labelled_map(model, settings, formats)
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results


def _write_labelled_map(model: Model, settings: ExportSettings, formats: Container[str]) -> dict[str, Any]:
    """Write the labelled map as PLY, COLMAP model or map folder."""
    assert settings.map is not None
    assert settings.map_labels is not None
    stationary = None if model.stationary is None else np.asarray(model.stationary, bool)
    window = LocalizeSettings.label_window if "map" in formats else None
    model_of_map = read_model(settings.map, all_key_points=True)
    file, found = first_label_map(settings.map_labels, model_of_map.names, "image of the map")
    if found != model.clusters:
        raise FgsnError(
            f"{file} has {found} labels, but {settings.model} has {model.clusters}; use the model that made the label "
            "maps"
        )
    labelled = make_labelled_map(model_of_map, settings.map_labels, stationary, label_window=window)
    colours, results = model.palette, {}
    facts = map_facts(labelled)
    facts = {key: facts[key] for key in ("points", "points_with_label", "labels_used")}
    if "ply" in formats:
        write_ply(settings.out / "labels.ply", labelled, colours)
        results["ply"] = {"file": str(settings.out / "labels.ply"), **facts}
    if "map" in formats:
        save_map(settings.out / "map", labelled)
        results["map"] = {"folder": str(settings.out / "map"), **facts}
    if "colmap" in formats:
        write_colmap(settings.out / "colmap", labelled, colours)
        results["colmap"] = {"folder": str(settings.out / "colmap"), **facts}
    return results
