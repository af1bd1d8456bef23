"""The model card for the Hugging Face Hub, written from the contents of the model file."""

from collections.abc import Iterator, Mapping
from typing import Any


def model_card(description: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """A model card in Markdown, with the header that the Hub reads, from `Model.describe()` and the model's `facts`."""
    labels = description["labels"]
    lines = [
        "---",
        "library_name: fgsn",
        "pipeline_tag: image-segmentation",
        "tags: [visual-localization, semantic-segmentation]",
        "---",
        "",
        f"# {labels} {'classes' if 'classes' in description else 'fine-grained labels'}",
        "",
        "A model of fgsn (Fine-Grained Segmentation Networks, Larsson et al., ICCV 2019) gives every pixel of a street",
        "scene a label that is meant to stay the same in all seasons.",
        "",
        "```python",
        "import fgsn",
        'model = fgsn.load("hf://OWNER/NAME")  # where this page is',
        f'labels = model.segment("street.jpg")  # (H, W) integers, 0 to {labels - 1}',
        "```",
        "",
        *_table((key, value) for key, value in description.items() if key != "training"),
        "",
        "## Training",
        "",
        *_table(_flat(training)),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Any) -> list[str]:
    cells = [(str(key).replace("_", " "), str(value).replace("|", "\\|").replace("\n", " ")) for key, value in rows]
    return ["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in cells)]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested facts, such as the training of the start model, as one flat list."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else value
