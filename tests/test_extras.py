"""Optional packages: what we pass on to them has an effect, since some ignore what they do not know."""

import inspect

import h5py
import numpy as np
import pytest
import tyro
from tyro.extras import subcommand_cli_from_dict

from fgsn.errors import FgsnError
from fgsn.extras import poselib_options

poselib = pytest.importorskip("poselib")


def colmap_options():
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.IncrementalPipelineOptions()
    return [options, options.mapper, pycolmap.FeatureExtractionOptions(), pycolmap.FeatureExtractionOptions().sift,
            pycolmap.Camera(), pycolmap.TwoViewGeometry()]  # fmt: skip


def test_pycolmap_refuses_an_option_that_it_does_not_know():
    """Options are attributes there; a renamed one must not become a new attribute that nobody reads."""
    for options in colmap_options():
        with pytest.raises(AttributeError):
            options.no_such_option = 1


def test_h5py_refuses_an_option_that_it_does_not_know(tmp_path):
    with pytest.raises(TypeError), h5py.File(tmp_path / "a.h5", "w", no_such_option=1):
        pass
    with h5py.File(tmp_path / "b.h5", "w") as file, pytest.raises(TypeError):
        file.create_dataset("a", data=[1], no_such_option=1)
    with pytest.raises(ValueError, match="locking"):
        h5py.File(tmp_path / "b.h5", "r", locking="no such choice")


def test_tyro_refuses_an_option_that_it_does_not_know():
    with pytest.raises(TypeError):
        tyro.conf.arg(no_such_option=1)
    # tyro.cli itself takes any word, for names of the past: those that fgsn.cli gives must be among its parameters.
    known = (
        inspect.signature(tyro.cli).parameters.keys() & inspect.signature(subcommand_cli_from_dict).parameters.keys()
    )
    assert {"prog", "args"} <= known
    assert "description" in inspect.signature(tyro.cli).parameters


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
