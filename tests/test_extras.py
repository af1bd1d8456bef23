"""Optional packages: what we pass on to them has an effect, since some ignore what they do not know."""

import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.extras import poselib_options

poselib = pytest.importorskip("poselib")


def inliers(**options):
    """Inliers of a pose from points that are off by up to 4 pixels."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-2, -2, 4), (2, 2, 8), (60, 3))
    pixels = points[:, :2] / points[:, 2:] * 500 + 320 + rng.uniform(-4, 4, (60, 2))
    camera = {"model": "PINHOLE", "width": 640, "height": 640, "params": [500, 500, 320, 320]}
    ransac = poselib_options("RansacOptions", **options)
    return poselib.estimate_absolute_pose(pixels, points, camera, ransac, {})[1]


def test_options_have_an_effect():
    assert inliers(max_reproj_error=0.5)["num_inliers"] < 20 < inliers(max_reproj_error=8.0)["num_inliers"]
    assert inliers(max_iterations=10, min_iterations=10)["iterations"] <= 11 < inliers(min_iterations=50)["iterations"]


def test_an_option_that_the_package_would_ignore_is_an_error():
    with pytest.raises(FgsnError, match=r"PoseLib .* has no option 'max_error': pip install"):
        poselib_options("RansacOptions", max_error=3.0)
    with pytest.raises(FgsnError, match="has no option 'loss'"):
        poselib_options("BundleOptions", loss="HUBER")
