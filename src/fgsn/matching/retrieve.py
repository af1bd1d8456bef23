"""fgsn retrieve: the map images that look most like each query, by label histograms of parts of the image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fgsn.config import RetrieveSettings
from fgsn.config.base import work_folder
from fgsn.data.camera_images import images_of
from fgsn.errors import FgsnError
from fgsn.files import write_json, write_text, write_yaml
from fgsn.formats.queries import read_query_lists
from fgsn.geometry.colmap import read_model
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.similar import Similarity

NO_POINTS = np.zeros((0, 2), np.float32)


def retrieve(settings: RetrieveSettings) -> dict[str, Any]:
    """Write the pairs, and settings and results beside them; images that cannot be used are listed under `failed`.

    Raises:
        FgsnError: the map, a query list or the model is missing or broken, or no image of a side can be used.
    """
    map_images = read_model(settings.map, points_needed=False)
    asked = read_query_lists(settings.queries)
    found = images_of(settings.images, map_images, {query.name: query.camera for some in asked for query in some})
    # A folder of its own: localize keeps the labels at its key points under the same names.
    work = work_folder(settings) / "retrieval"
    labels = LabelVectors.of_model(settings.model, work)
    points = dict.fromkeys(found.files, NO_POINTS)
    failed = found.broken | labels.compute(found.files, points, settings.device)
    images = {name: path for name, path in found.files.items() if name not in failed}
    map_names = [name for name in map_images.names if name in images]
    conditions = [[query.name for query in some if query.name in images] for some in asked]
    queries = [name for names in conditions for name in names]
    if not map_names or not queries:
        raise FgsnError(
            f"no image of the {'queries' if map_names else 'map'} can be used, as {next(iter(failed.values()))}"
        )
    similarity = label_similarity(labels, images, points, conditions, map_names)
    pairs = similarity.best(queries, map_names, settings.count)
    write_text(settings.out, "".join(f"{query} {name}\n" for query, name in pairs))
    results = {
        "queries": len(queries),
        "map_images": len(map_names),
        "pairs": len(pairs),
        "file": str(settings.out),
        "failed": list(failed.values()),
    }
    write_yaml(settings.out.with_suffix(".config.yaml"), settings.as_dict())
    write_json(settings.out.with_suffix(".results.json"), results)
    return results


def label_similarity(
    labels: LabelVectors,
    images: Mapping[str, Path],
    points: Mapping[str, Float[np.ndarray, "points 2"]],
    conditions: Sequence[Sequence[str]],
    names: Sequence[str],
) -> Similarity:
    """Similarity of queries, by condition, and map images by what `labels` has computed for these key points."""
    queries = [name for some in conditions for name in some]
    here, there = (np.stack([labels.pyramid(n, images[n], points[n]) for n in side]) for side in (queries, names))
    return Similarity.by_condition(here, [*map(len, conditions)], there)
