"""Label confusion between the map's condition and others: p(label in an image | label of the map point)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64

from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.inference.correspondence_labels import correspondence_labels


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of label pairs at training correspondences."""

    counts: Int64[np.ndarray, "labels labels"]
    """Row: label in the reference image; column: label of the same place in the target image."""

    @classmethod
    def count(
        cls, label_of: Callable[[Path], np.ndarray], pairs: Sequence[Correspondences], labels: int
    ) -> "Confusion":
        """Count at the correspondences of pairs of images; use the training split, so that no ground truth leaks.

        `label_of` returns the (H, W) label map of an image at the image's size and is called once per image; labels of
        `labels` and above are ignored (255, for example).

        Raises:
            FgsnError: no correspondence has a label in both images.
        """
        found = correspondence_labels(label_of, pairs)
        known = (found.reference < labels) & (found.target < labels)
        cells = found.reference[known].astype(np.int64) * labels + found.target[known]
        counts = np.bincount(cells, minlength=labels**2).reshape(labels, labels)
        if not counts.any():
            raise FgsnError(f"the {len(pairs)} pairs of images contain no labelled correspondences to count")
        return cls(counts)

    @property
    def labels(self) -> int:
        """Number of labels K."""
        return len(self.counts)

    def probabilities(self, strength: float = 10.0) -> Float[torch.Tensor, "labels labels"]:
        """p(label in the image | label of the point): rows that sum to 1, float32.

        Every row gets `strength` pseudo-counts in the proportions of the target images' labels: a label that never
        occurs in the reference images is uninformative, and no probability is 0.
        """
        counts = self.counts.astype(np.float64)
        target = counts.sum(axis=0) + 1 / self.labels
        rows = counts + strength * target / target.sum()
        return torch.from_numpy((rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))
