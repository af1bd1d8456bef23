import numpy as np
import pytest

from fgsn.world.route import lay_route
from fgsn.world.texture import lines, noise, random_of, within


def test_noise_fades_with_the_footprint():
    u, v = np.random.default_rng(0).uniform(0, 100, (2, 50_000)).astype(np.float32)
    spread = [float(noise(u, v, 0.02, np.full(50_000, f, np.float32)).std()) for f in (0.01, 0.08, 0.64, 5.0)]
    assert spread[0] == pytest.approx(1.0, abs=0.35)
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 0.3


def test_random_numbers_are_uniform_and_depend_on_every_key():
    keys = np.arange(20_000)
    values = random_of(keys, 7)
    assert np.histogram(values, 10, (0, 1))[0] / 2000 == pytest.approx(np.ones(10), abs=0.12)
    for other in (random_of(keys + 1, 7), random_of(keys, 8), random_of(7, keys)):
        assert abs(np.corrcoef(values, other)[0, 1]) < 0.03


@pytest.mark.parametrize("footprint", [0.01, 0.1, 1.0])
def test_lines_cover_their_share(footprint):
    x = np.random.default_rng(0).uniform(-50, 50, 100_000)
    coverage = lines(x, 0.6, 0.1, np.full(len(x), footprint))
    assert coverage.mean() == pytest.approx(0.1 / 0.6, abs=0.01)


def test_within_is_the_covered_share():
    x = np.array([0.0, 0.95, 1.0, 1.05, 2.0])
    assert within(x, -1.0, 1.0, np.full(5, 0.2)) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_a_route_goes_on_as_it_began_and_never_comes_back():
    for seed in range(10):
        short, long = lay_route(seed, 200), lay_route(seed, 900)
        along = np.linspace(-30, 190, 50)
        assert short.at(along)[0] == pytest.approx(long.at(along)[0])
        assert np.all(np.diff(long.points[:, 0]) > 0)
        assert np.linalg.norm(np.diff(long.points, axis=0), axis=1) == pytest.approx(0.5)
