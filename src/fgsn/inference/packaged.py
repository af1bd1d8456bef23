"""The models that come with the package, by name: accepted wherever a model file is."""

from importlib import resources
from pathlib import Path

from fgsn.errors import FgsnError

FILES = {"world:tiny": "world_base.safetensors", "world:labels": "world_labels.safetensors"}
"""`world:tiny`: classes, trained on labelled images of synthetic towns in fair weather. `world:labels`: fine-grained
labels, trained from it on correspondences of synthetic towns in all conditions: the best start where there are no
labelled images. benchmarks/world_base.py makes both; the seeds of its towns are not used for any reported result."""


def is_packaged(name: Path | str) -> bool:
    """Whether this is a name of a packaged model rather than a path."""
    return str(name).startswith("world:")


def packaged(name: Path | str) -> Path:
    """The file of a packaged model; FgsnError if there is no such model, or the installation is incomplete."""
    if str(name) not in FILES:
        raise FgsnError(f"{name} does not come with fgsn; there are {' and '.join(FILES)}")
    path = Path(str(resources.files("fgsn") / "assets" / FILES[str(name)]))
    if not path.is_file():
        raise FgsnError(f"{path} is missing: reinstall fgsn")
    return path
