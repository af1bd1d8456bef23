"""The page that tells what a model is, for the Hugging Face Hub; written from what the model file itself says."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fgsn.inference.info import describe

if TYPE_CHECKING:
    from fgsn.inference.model import Model


def model_card(model: "Model") -> str:
    """A model card in Markdown, with the header that the Hub reads."""
    facts = describe(model)
    del facts["training"]
    lines = [
        "---",
        "library_name: fgsn",
        "pipeline_tag: image-segmentation",
        "tags: [visual-localization, semantic-segmentation]",
        "---",
        "",
        f"# {_title(model)}",
        "",
        "A model of fgsn (Fine-Grained Segmentation Networks, Larsson et al., ICCV 2019) gives every pixel of a street",
        "scene a label that is meant to stay the same in all seasons.",
        "",
        "```python",
        "import fgsn",
        'model = fgsn.load("hf://OWNER/NAME")  # where this page is',
        f'labels = model.segment("street.jpg")  # (H, W) integers, 0 to {model.clusters - 1}',
        "```",
        "",
        *_table(facts.items()),
        "",
        "## Training",
        "",
        *_table(_flat(model.facts)),
    ]
    return "\n".join(lines) + "\n"


def _title(model: "Model") -> str:
    return f"{len(model.classes)} classes" if model.classes else f"{model.clusters} fine-grained labels"


def _table(rows: Any) -> list[str]:
    cells = [(str(key).replace("_", " "), str(value).replace("|", "\\|").replace("\n", " ")) for key, value in rows]
    return ["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in cells)]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Facts within facts, such as how the start model was trained, one by one."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else value
