"""fgsn: Fine-Grained Segmentation Networks, labels that survive the seasons (Larsson et al., ICCV 2019)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgsn.clustering.codebook import Codebook
    from fgsn.data.correspondences import Correspondences, read_correspondences
    from fgsn.inference.model import Model, load

__all__ = ["Codebook", "Correspondences", "Model", "load", "read_correspondences"]

_HOMES = {
    "Codebook": "fgsn.clustering.codebook",
    "Correspondences": "fgsn.data.correspondences",
    "read_correspondences": "fgsn.data.correspondences",
    "Model": "fgsn.inference.model",
    "load": "fgsn.inference.model",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import fgsn` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fgsn' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
