"""SIFT features (Lowe, 2004) as COLMAP extracts them, matched as nearest neighbours with the ratio test."""

import numpy as np
from jaxtyping import UInt8

from fgsn import extras
from fgsn.matching.feature_matches import FeatureMatches
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.matcher import register
from fgsn.matching.nearest import mutual_nearest

_LARGEST_RATIO = 0.8  # of the angles to the nearest and the second nearest descriptor, as in COLMAP


@register("sift")
class Sift:
    """SIFT with square-rooted descriptors (Arandjelović and Zisserman, CVPR 2012)."""

    name = features = "sift"
    compares_descriptors = True

    def __init__(self, keypoints: int, device: str) -> None:
        pycolmap = extras.pycolmap()
        options = pycolmap.FeatureExtractionOptions()
        options.num_threads = 1
        options.sift.max_num_features = keypoints
        options.sift.max_num_orientations = 1
        self.keypoints, self.device = keypoints, "cpu"  # whatever the requested device
        with extras.pycolmap_quiet():
            self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)

    def extract(self, image: UInt8[np.ndarray, "height width 3"]) -> Keypoints:
        """Extract features, largest first; the score is the scale relative to the largest."""
        pycolmap = extras.pycolmap()
        grey = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        with extras.pycolmap_quiet():
            points, described = self._extractor.extract_from_uint8_array(grey)
        found = pycolmap.keypoints_to_matrix(points)  # x, y, scale, orientation
        descriptors = described.data.astype(np.float32)
        descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
        scale = found[:, 2]
        return Keypoints(
            np.asarray(found[:, :2] - 0.5, np.float32),  # COLMAP's pixel centres lie at +0.5
            descriptors,
            np.asarray(scale / max(scale.max(initial=0.0), 1e-12), np.float32),
            (image.shape[1], image.shape[0]),
        ).best(self.keypoints)

    def match(self, a: Keypoints, b: Keypoints) -> FeatureMatches:
        """Match mutual nearest neighbours that pass the ratio test in both directions."""
        return mutual_nearest(a.descriptors, b.descriptors, largest_ratio=_LARGEST_RATIO)
