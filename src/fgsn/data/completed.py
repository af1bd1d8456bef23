"""Whether an earlier run already made a data set with the same settings."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fgsn.errors import FgsnError
from fgsn.files import LOCK, read_yaml, require_output

_ADDED = {
    "moved_pairs": 0,
    "trust_poses": False,
}  # settings that earlier versions did not have, and the values that do what they did


def completed_results(
    root: Path, made_with: Mapping[str, Any], kind: str, spare: Collection[str] = ()
) -> dict[str, Any] | None:
    """The results of a data set that was completed with the same settings; None if work remains.

    Args:
        made_with: the settings that determine the data set, as YAML values; dataset.yaml records them.
        kind: what the data set is, for error messages.
        spare: names of files in the folder to ignore.

    Raises:
        FgsnError: the folder contains something else.
    """
    require_output(root)
    if not root.exists():
        return None
    if (root / "dataset.yaml").exists():
        description = read_yaml(root / "dataset.yaml")
        _refuse_other(root, description.get("made_with"), made_with, kind)
        if not isinstance(description.get("results"), dict):
            raise FgsnError(f"{root / 'dataset.yaml'} has no 'results'; delete it to make the {kind} again")
        return description["results"]
    if (root / "config.yaml").exists():
        _refuse_other(root, read_yaml(root / "config.yaml"), made_with, kind)
    elif any(path.name not in {*spare, LOCK} for path in root.iterdir()):
        raise FgsnError(f"{root} is not empty and does not contain a {kind}; give --out a new or empty folder")
    return None


def _refuse_other(root: Path, found: Any, expected: Mapping[str, Any], kind: str) -> None:
    found = _ADDED | (found if isinstance(found, dict) else {})
    other = [f"{key} {found.get(key)}, now {value}" for key, value in expected.items() if found.get(key) != value]
    if other:
        raise FgsnError(
            f"{root} contains a {kind} that was made, or begun, with other settings ({'; '.join(other)}); give those "
            "settings again, choose another --out, or remove the folder"
        )
