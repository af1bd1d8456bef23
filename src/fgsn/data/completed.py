"""A data set that a command made: is it there already, finished, and with the same settings?"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fgsn.errors import FgsnError
from fgsn.files import read_yaml


def finished(root: Path, made_with: Mapping[str, Any], kind: str, spare: Collection[str] = ()) -> dict[str, Any] | None:
    """The results of a finished data set with equal settings; None when there is something left to do.

    Args:
        root: the folder to write to.
        made_with: the settings that decide what is made, as plain values; dataset.yaml keeps them.
        kind: what is made, for the error.
        spare: names in the folder that do not matter.

    Raises:
        FgsnError: the folder holds something else.
    """
    if not root.exists():
        return None
    if not root.is_dir():
        raise FgsnError(f"{root} is a file; --out wants a folder")
    described = root / "dataset.yaml"
    if described.exists():
        description = read_yaml(described)
        _refuse_other(root, description.get("made_with"), made_with, kind)
        return description["results"]
    if (root / "config.yaml").exists():
        _refuse_other(root, read_yaml(root / "config.yaml"), made_with, kind)
    elif any(path.name not in spare for path in root.iterdir()):
        raise FgsnError(f"{root} is not empty and holds no {kind}; give --out a new or empty folder")
    return None


def _refuse_other(root: Path, found: Any, wanted: Mapping[str, Any], kind: str) -> None:
    found = found if isinstance(found, dict) else {}
    other = [f"{key} {found.get(key)} instead of {value}" for key, value in wanted.items() if found.get(key) != value]
    if other:
        raise FgsnError(
            f"{root} holds a {kind} of other settings ({'; '.join(other)}); remove it or choose another --out"
        )
