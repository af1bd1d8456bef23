"""The codebook: whitening against float64 and the golden data, clustering, assignment."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.errors import FgsnError

GOLDEN_GRAM = np.load(Path(__file__).with_name("golden_gram.npz"))["gram"]
GOLDEN_LABELS = np.load(Path(__file__).with_name("golden_labels.npz"))
GOLDEN_WHITENING = np.load(Path(__file__).with_name("golden_whitening.npz"))
ROOT = Path(__file__).parents[2].parent / "shared" / "golden"


def features_of(samples=400, dim=24, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    spread = 1 / (1 + np.arange(dim) / 4)
    return (rng.normal(size=(samples, dim)) * spread @ rng.normal(size=(dim, dim)) + rng.uniform(0, 3, dim)).astype(
        dtype
    )


def gram(rows):
    rows = np.asarray(rows, np.float64)
    return rows @ rows.T


def golden_features(golden):
    samples, dim = 2000, 512
    z = golden(501, (samples, dim), -1, 1) / (1 + np.arange(dim) / 64)
    mixed = golden(502, (dim, dim), -1, 1) * np.sqrt(3 / dim)
    return torch.from_numpy((z @ mixed + 3 * golden(503, (dim,))).astype(np.float32))


def test_labels_of_the_golden_features(golden):
    """Centroids are means of three whitened rows each, so that they can be made in any basis."""
    features = golden_features(golden)
    whitening = Whitening.fit(features, 256)
    centroids = whitening(features)[torch.from_numpy(GOLDEN_LABELS["rows"].astype(np.int64))].mean(dim=1)
    equal = Codebook(whitening, centroids).assign(features) == GOLDEN_LABELS["labels"]
    assert equal.mean() >= 0.99
    assert GOLDEN_LABELS["margin"][~equal].max(initial=0) < 0.005  # as much as float64 and theirs differ


@pytest.mark.skipif(not ROOT.is_dir(), reason="the golden data are not here")
def test_whitening_and_centroids_of_theirs_give_their_labels(golden):
    stored = np.load(ROOT / "05_pca.npz")
    projection = torch.from_numpy(stored["A"])
    # Theirs is x @ A + b; ours takes the mean off first, and -mean @ A = b.
    mean = torch.linalg.lstsq(projection.T.double(), -torch.from_numpy(stored["b"])[:, None].double())[0][:, 0].float()
    codebook = Codebook(Whitening(mean, projection), torch.from_numpy(stored["centroids"]))
    features = golden_features(golden)
    np.testing.assert_allclose(codebook.whitening(features[:64]), stored["Y_first64"], atol=1e-5)
    clear = stored["label_margin"] > 1e-4
    np.testing.assert_array_equal(codebook.assign(features)[clear], stored["labels"][clear])


def test_whitening_of_the_golden_features(golden):
    """The angles between whitened features do not depend on the signs and rotations that are free."""
    features = golden_features(golden)
    whitening = Whitening.fit(features, 256)
    assert whitening.projection.shape == (512, 256)
    np.testing.assert_allclose(gram(whitening(features[:32])), GOLDEN_GRAM, atol=2e-4)


def test_the_first_16_axes_of_theirs(golden):
    """faiss's axes lie close to those of float64; applied they give its features, here 16 of their 256 numbers."""
    features = golden_features(golden)
    projection = torch.from_numpy(GOLDEN_WHITENING["projection"])
    cosines = torch.nn.functional.cosine_similarity(Whitening.fit(features, 16).projection, projection, dim=0)
    assert cosines.abs().min() > 0.97
    # Theirs is x @ A + b; ours takes the mean off first, and -mean @ A = b.
    offset = torch.from_numpy(GOLDEN_WHITENING["offset"])[:, None].double()
    mean = torch.linalg.lstsq(projection.T.double(), -offset)[0][:, 0].float()
    theirs = torch.nn.functional.normalize(torch.from_numpy(GOLDEN_WHITENING["whitened"]), dim=1)
    np.testing.assert_allclose(Whitening(mean, projection)(features[:64]), theirs, atol=1e-5)


@pytest.mark.parametrize("keep", [3, 24, 256])
def test_whitening_is_that_of_a_singular_value_decomposition(keep):
    features = features_of()
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :keep]
    whitening = Whitening.fit(torch.from_numpy(features), keep)
    assert whitening.projection.shape == (24, min(keep, 24))
    expected = gram(left / np.linalg.norm(left, axis=1, keepdims=True))
    np.testing.assert_allclose(gram(whitening(torch.from_numpy(features))), expected, atol=2e-4)


def test_a_large_mean_does_not_spoil_the_whitening():
    features = features_of().astype(np.float64)
    small, large = (torch.from_numpy((features + offset).astype(np.float32)) for offset in (0, 1000))
    np.testing.assert_allclose(gram(Whitening.fit(large, 8)(large)), gram(Whitening.fit(small, 8)(small)), atol=0.02)


def test_fewer_samples_than_dimensions():
    features = torch.from_numpy(features_of(samples=10))
    rows = Whitening.fit(features, 256)(features)
    assert rows.shape[1] == 9
    assert torch.isfinite(rows).all()
    np.testing.assert_allclose(rows.norm(dim=1), 1, rtol=1e-5)


def test_directions_in_which_nothing_varies_are_left_out():
    features = features_of(dim=6)
    doubled = torch.from_numpy(np.concatenate([features, features, np.ones((400, 3), np.float32)], axis=1))
    assert Whitening.fit(doubled, 256).projection.shape == (15, 6)


def test_a_feature_equal_to_the_mean_becomes_zeros_not_nan():
    whitening = Whitening.fit(torch.from_numpy(features_of()), 8)
    row = whitening(whitening.mean[None])
    assert row.count_nonzero() == 0


@pytest.mark.parametrize("value", [0.0, 7.25])
def test_constant_features_give_a_codebook_without_nan(value):
    codebook = Codebook.fit(np.full((50, 8), value, np.float32), 4)
    assert torch.isfinite(codebook.centroids).all()
    assert torch.isfinite(codebook.whitening.projection).all()
    assert len(set(codebook.assign(np.full((50, 8), value, np.float32)).tolist())) == 1


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(broken):
    features = features_of()
    features[17, 3] = broken
    with pytest.raises(FgsnError, match="NaN or infinite"):
        Codebook.fit(features, 5)


BAD_TABLES = """
import numpy as np, torch
from fgsn.clustering.codebook import Codebook
from fgsn.errors import FgsnError
good = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
codebook = Codebook.fit(good, 2)
bad = [good[0], good[None], good[:, :0], good + 1j, good.astype(object), good.astype(str), None, [[1], [1, 2]]]
for use in (lambda table: Codebook.fit(table, 2), codebook.assign, codebook.assign_tensor):
    for table in bad:
        try:
            print("taken", use(table))
        except FgsnError as error:
            assert str(error).startswith("features should be (N, "), error
for clusters, kept in ((0, 2), (-1, 2), (1.5, 2), (2, 0)):
    try:
        print("taken", Codebook.fit(good, clusters, pca_dim=kept))
    except FgsnError as error:
        assert "should be a whole number, 1 or more" in str(error)
try:
    print("taken", codebook.assign_map(torch.from_numpy(good)))
except FgsnError as error:
    assert "should be (batch, dim, height, width), not (9, 3)" in str(error)
"""


def test_what_is_no_table_of_numbers_is_refused():
    """In a process of its own: here, jaxtyping would refuse it before."""
    done = subprocess.run([sys.executable, "-c", BAD_TABLES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_no_features_and_too_few_are_refused():
    with pytest.raises(FgsnError, match="there are no features"):
        Codebook.fit(np.zeros((0, 8), np.float32), 5)
    with pytest.raises(FgsnError, match="5 clusters require at least as many features, but there are 4"):
        Codebook.fit(features_of(samples=4), 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_floating_point_features_will_do(dtype):
    features = features_of(dtype=dtype)
    codebook = Codebook.fit(features, 10)
    assert codebook.centroids.dtype == torch.float32
    ids = codebook.assign(features)
    assert ids.dtype == np.int64
    assert set(ids) == set(range(10))


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**31))
def test_assignment_is_what_brute_force_finds(clusters, seed):
    features = features_of(samples=100, dim=12, seed=seed)
    codebook = Codebook.fit(features, clusters, seed=seed, pca_dim=6)
    mean, projection = codebook.whitening.mean.double().numpy(), codebook.whitening.projection.double().numpy()
    rows = (features - mean) @ projection
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = ((rows[:, None] - codebook.centroids.double().numpy()) ** 2).sum(axis=2)
    ids = codebook.assign(features)
    np.testing.assert_allclose(distances[np.arange(100), ids], distances.min(axis=1), atol=1e-5)
    assert codebook.objective[-1] == pytest.approx(distances.min(axis=1).sum(), rel=1e-4, abs=1e-4)
    assert codebook.clusters == clusters


def test_a_map_is_assigned_cell_by_cell():
    codebook = Codebook.fit(features_of(), 20)
    rows = torch.from_numpy(features_of(samples=2 * 5 * 7, seed=1))
    maps = rows.view(2, 5, 7, 24).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(codebook.assign_map(maps).flatten(), codebook.assign(rows))


def test_the_same_seed_gives_the_same_codebook():
    one, same, other = (Codebook.fit(features_of(), 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.centroids, same.centroids)
    assert one.objective == same.objective
    assert not torch.equal(one.centroids, other.centroids)


def test_a_codebook_survives_as_tensors():
    codebook = Codebook.fit(features_of(), 20)
    back = Codebook.from_tensors(codebook.to("cpu").tensors())
    assert torch.equal(back.centroids, codebook.centroids)
    assert torch.equal(back.whitening.projection, codebook.whitening.projection)
    assert back.objective == codebook.objective
    np.testing.assert_array_equal(back.assign(features_of(seed=5)), codebook.assign(features_of(seed=5)))


def test_discriminative_whitening_finds_what_tells_points_apart():
    """Points differ in three hidden directions; a fourth varies most, but by image and not by point."""
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    points = np.zeros((4000, 8))
    points[:, :3] = rng.normal(size=(4000, 3)) * (3, 2, 1)

    def image():
        return (points + rng.normal(size=points.shape) * (0.1, 0.1, 0.1, 20, 0.1, 0.1, 0.1, 0.1)) @ mixing

    one, other = (torch.from_numpy(image()).float() for _ in range(2))
    whitening = Whitening.fit_discriminative(one.mean(dim=0), one - other, one - other.roll(1, dims=0), 3)
    assert whitening.projection.shape == (8, 3)
    weights = np.abs(mixing @ whitening.projection.numpy())  # of the hidden directions
    assert (weights[3] < 0.02 * weights[:3].max(axis=0)).all(), "the image's own direction is left out"
    assert np.linalg.matrix_rank(weights[:3], tol=1e-2) == 3
    apart = ((one - other) @ whitening.projection).std(dim=0)
    assert torch.allclose(apart, apart[0].expand(3), rtol=0.3), "a point varies equally in all directions"
    codebook = Codebook.fit(one, 20, whitening=whitening)
    pca = Codebook.fit(one, 20, pca_dim=3)
    same = [np.mean(book.assign(one) == book.assign(other)) for book in (codebook, pca)]
    assert same[0] > 0.8 > same[1]


def test_features_that_are_not_finite_or_of_another_width_are_refused_by_all_that_assigns():
    codebook = Codebook.fit(features_of(), 4)
    good = torch.from_numpy(features_of())
    holed = good.clone()
    holed[1, 2] = torch.nan
    for features in (holed, good[:, :3], good.double() * 1e300):
        for assign in (
            codebook.assign,
            codebook.assign_tensor,
            lambda rows: codebook.assign_map(rows.T[None, :, :, None]),
        ):
            with pytest.raises(FgsnError, match=r"features should be \(N, 24\) finite numbers"):
                assign(features)
    with pytest.raises(FgsnError, match=r"feature maps should be \(batch, dim, height, width\)"):
        codebook.assign_map(good.T[None, :, :, None][:0])
    assert codebook.assign_tensor(good[:0]).tolist() == []


@pytest.mark.parametrize(
    "wrong", [{"clusters": 0}, {"clusters": True}, {"pca_dim": 0}, {"iterations": -1}, {"seed": -1}]
)
def test_settings_of_a_codebook_are_whole_numbers(wrong):
    with pytest.raises(FgsnError, match=f"{next(iter(wrong))} should be a whole number"):
        Codebook.fit(features_of(), **{"clusters": 4} | wrong)


def test_large_features_are_finite_and_opposite_infinities_are_not():
    codebook = Codebook.fit(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), 3, iterations=2, pca_dim=4)
    assert codebook.assign(np.full((9, 4), 1e38, np.float32)).shape == (9,)  # their sum is infinite
    features = np.zeros((2, 4), np.float32)
    features[:, 0] = np.inf, -np.inf
    with pytest.raises(FgsnError, match="infinite"):
        codebook.assign(features)


def test_what_is_no_device_or_no_codebook_is_told():
    codebook = Codebook.fit(features_of(), 4, seed=0)
    with pytest.raises(FgsnError, match="there is no device 'gpu0'; take cpu or cuda"):
        codebook.to("gpu0")
    with pytest.raises(FgsnError, match="a codebook needs the tensors centroids, mean, objective, projection, too"):
        Codebook.from_tensors({})
