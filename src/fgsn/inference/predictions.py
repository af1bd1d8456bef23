"""What the network says about many images; windows of several images are computed together."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fgsn.inference.model import Model
from fgsn.inference.tiles import blended_many


@dataclass(frozen=True, eq=False)
class Predicted:
    """An image and what the network said about it; what was not asked for is None."""

    name: str
    pixels: np.ndarray
    scores: Tensor | None = None
    """(K, h, w) at feature cells, on the model's device."""
    features: Tensor | None = None
    """(D, h, w) at feature cells, on the model's device."""
    published: np.ndarray | None = None
    """The label map, where it is made by the authors' windows and not from the scores."""

    @property
    def bytes_held(self) -> int:
        """Memory of the maps."""
        return sum(part.nbytes for part in (self.scores, self.features, self.published) if part is not None)

    def labels(self, model: Model) -> np.ndarray:
        """The label map (H, W)."""
        if self.published is not None:
            return self.published
        assert self.scores is not None
        return model.labels(self.scores, (self.pixels.shape[0], self.pixels.shape[1]))


def predicted(model: Model, pictures: Iterable[tuple[str, np.ndarray]], save: Collection[str]) -> Iterator[Predicted]:
    """Run the network on many images, in their order.

    Args:
        model: the model.
        pictures: names and pixels of the images; taken one by one, as they are needed.
        save: what shall be made: labels, overlay, features, scores.
    """
    published = model.windows == "published" and not {"labels", "overlay"}.isdisjoint(save)
    with_scores = "scores" in save or (not published and not {"labels", "overlay"}.isdisjoint(save))
    if not with_scores and "features" not in save:
        for name, pixels in pictures:
            yield Predicted(name, pixels, published=model.segment(pixels))
        return

    def predict(tiles: Tensor) -> Tensor:
        output = model.output(tiles)
        return torch.cat([output.logits] * with_scores + [output.features] * ("features" in save), dim=1)

    prepared = ((picture, model.prepared(picture[1])) for picture in pictures)
    for (name, pixels), maps in blended_many(predict, prepared, model.window, model.batch):
        split = model.clusters * with_scores
        yield Predicted(
            name,
            pixels,
            scores=maps[:split] if with_scores else None,
            features=maps[split:] if "features" in save else None,
            published=model.segment(pixels) if published else None,
        )
