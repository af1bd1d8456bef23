import numpy as np
import pytest

from fgsn.data.motion import PointMotion


def test_quantiles_are_those_of_all_points():
    rng, motion, every = np.random.default_rng(0), PointMotion(), []
    for seed in range(5):
        reference, target = rng.uniform(0, 60, (100 + seed, 2)), rng.uniform(0, 60, (100 + seed, 2))
        every.append(100 * np.linalg.norm(target - reference, axis=1) / 64)
        assert motion.add(reference, target, ((64, 48), (64, 48))) == pytest.approx(np.median(every[-1]))
    expected = np.quantile(np.concatenate(every), (0.5, 0.9))
    assert list(motion.metrics().values()) == pytest.approx(list(expected), abs=0.4)


def test_images_of_two_sizes_are_compared_at_the_same_scale():
    motion, points = PointMotion(), np.random.default_rng(0).uniform(0, 40, (50, 2))
    motion.add(points, 2 * (points + 0.5) - 0.5, ((64, 48), (128, 96)))
    assert motion.metrics() == {"motion_median_percent": 0.0, "motion_p90_percent": 0.0}


def test_without_points():
    motion = PointMotion()
    assert np.isnan(motion.add(np.zeros((0, 2)), np.zeros((0, 2)), ((64, 48), (64, 48))))
    assert motion.metrics() == {"motion_median_percent": None, "motion_p90_percent": None}
