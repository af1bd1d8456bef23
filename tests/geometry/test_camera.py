import sys

import numpy as np
import pytest

from fgsn.errors import FgsnError, MissingExtraError
from fgsn.geometry import camera as module
from fgsn.geometry.camera import PARAMETER_COUNTS, Camera

OPENCV = (868.99, 866.06, 525.94, 420.04, -0.399, 0.189, 0.00015, 0.00057)


def example(model: str) -> tuple[float, ...]:
    """Plausible parameters of a camera model."""
    count = PARAMETER_COUNTS[model]
    one_focal = model in module._ONE_FOCAL_LENGTH
    head = (400.0, 320.5, 239.0) if one_focal else (400.0, 410.0, 320.5, 239.0)
    extra = (0.5, 1.0) if model == "EUCM" else (-0.05, 0.01, 0.001, 0.0005) * 4
    return (head + extra)[:count]


@pytest.mark.parametrize("number", range(len(PARAMETER_COUNTS)))
def test_every_model_agrees_with_colmap(number):
    pycolmap = pytest.importorskip("pycolmap")
    model = list(PARAMETER_COUNTS)[number]
    if model not in pycolmap.CameraModelId.__members__:
        pytest.skip("this pycolmap is older than the model")
    assert int(pycolmap.CameraModelId.__members__[model]) == number
    parameters = example(model)
    camera = Camera.from_parameters(640, 480, parameters, model)
    assert camera.parameters == pytest.approx(parameters)
    colmap = pycolmap.Camera(model=model, width=640, height=480, params=parameters)
    points = np.random.default_rng(0).uniform((-0.4, -0.3, 1), (0.4, 0.3, 1), (50, 3)) * 3
    pixels, depth = camera.project(points.reshape(5, 10, 3))
    assert pixels.reshape(-1, 2) + 0.5 == pytest.approx(colmap.img_from_cam(points))
    assert camera.unproject(pixels, depth).reshape(-1, 3) == pytest.approx(points, abs=1e-5)


def test_nothing_folds_back_into_the_image():
    pytest.importorskip("pycolmap")
    camera = Camera.from_parameters(640, 480, (400, 320, 240, -0.25), "SIMPLE_RADIAL")
    aside = np.array([[x, 0.0, 1.0] for x in np.linspace(-4, 4, 201)])
    pixels, _ = camera.project(aside)
    seen = camera.contains(pixels)
    # Without care 2 = sqrt(1 / 0.25) would come to lie in the middle of the image.
    assert camera.rays(pixels[seen])[:, 0] == pytest.approx(aside[seen, 0], abs=1e-6)
    assert np.abs(aside[seen, 0]).max() < 1.2
    assert np.isnan(camera.project([[0.0, 0.0, -1.0], [1.9, 0.0, 1.0]])[0]).all()
    assert camera.project(np.zeros((0, 3)))[0].shape == (0, 2)


def test_distortion_without_pycolmap_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    module._lens.cache_clear()
    camera = Camera.from_parameters(1024, 768, OPENCV, "OPENCV")
    with pytest.raises(MissingExtraError, match=r"fgsn\[loc\]"):
        camera.rays([[3.0, 4.0]])
    pinhole = Camera.from_parameters(640, 480, (400, 320, 240), "SIMPLE_PINHOLE")
    assert pinhole.rays([319.5, 239.5]) == pytest.approx([0, 0, 1])


def test_no_camera_is_said_in_one_line():
    with pytest.raises(FgsnError, match="did you mean 'OPENCV'"):
        Camera.from_parameters(10, 10, (1, 1, 1, 1), "OPENCY")
    with pytest.raises(FgsnError, match="RADIAL has 5 parameters, not 4"):
        Camera.from_parameters(10, 10, (1, 1, 1, 1), "RADIAL")
    for width, parameters in ((0, (1, 1, 1, 1)), (5, (1, -1, 1, 1)), (5, (1, 1, np.nan, 1))):
        with pytest.raises(FgsnError, match="invalid camera"):
            Camera.from_parameters(width, 10, parameters)


@pytest.mark.parametrize("size", [(int(1e300), 48), (64, 2**63), (0, 48)])
def test_sizes_beyond_reason_are_refused(size):
    with pytest.raises(FgsnError, match="invalid camera: "):
        Camera.from_parameters(*size, (50, 50, 32, 24))
