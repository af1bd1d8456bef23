import h5py
import numpy as np
import pytest

from fgsn.errors import FgsnError, NoMatchesError
from fgsn.localization.hloc_matches import open_hloc_matches
from fgsn.localization.labelled_map import make_labelled_map
from localization.toy import read_or_refused, toy_model

QUERY = "night/c0/q.jpg"
DATABASE = [f"reference/c0/{number:03d}.jpg" for number in range(3)]
STYLES = ("nested", "nested reversed", "old", "old reversed")


@pytest.fixture(scope="module")
def labelled():
    return make_labelled_map(toy_model(), None)


def dashed(name):
    return name.replace("/", "-")


def write_files(folder, labelled, style="nested", pairs=DATABASE, name="f"):
    """Files as hloc writes them: query key point n matches what shows map point n, for the first ten points.

    The database key points are the observations in another order, with others in between.
    """
    rng = np.random.default_rng(0)
    features, matches = folder / f"{name}_features.h5", folder / f"{name}_matches.h5"
    query = rng.uniform(0, 40, (12, 2)).astype(np.float32)
    with h5py.File(features, "w") as file, h5py.File(matches, "w") as out:
        file.create_dataset(f"{QUERY}/keypoints", data=query)
        for image, database in enumerate(DATABASE):
            points, pixels = labelled.points_of(image), labelled.pixels_of(image)
            order = rng.permutation(len(points))
            key_points = np.concatenate([pixels[order], rng.uniform(100, 200, (5, 2))])  # the last lie nowhere
            file.create_dataset(f"{database}/keypoints", data=key_points.astype(np.float32))
            forward = np.full(12, -1, np.int32)
            forward[:10] = [int(np.nonzero(points[order] == point)[0][0]) for point in range(10)]
            forward[10] = len(points) + 2  # matches a key point without a map point
            scores = np.where(forward >= 0, 0.5 + image / 10, 0)
            if "reversed" in style:
                backward = np.full(len(key_points), -1, np.int32)
                backward[forward[:11]] = np.arange(11)
                scores, forward = np.where(backward >= 0, 0.5 + image / 10, 0), backward
            names = [dashed(QUERY), dashed(database)][:: -1 if "reversed" in style else 1]
            group = out.create_group(("_" if "old" in style else "/").join(names))
            group.create_dataset("matches0", data=forward)
            group.create_dataset("matching_scores0", data=scores.astype(np.float16))
    (folder / f"{name}_pairs.txt").write_text("".join(f"{QUERY} {database}\n" for database in pairs))
    return folder / f"{name}_pairs.txt", features, matches


@pytest.mark.parametrize("style", STYLES)
def test_matches_may_end_at_the_last_matched_key_point(tmp_path, labelled, style):
    """As hloc writes those of LoFTR; without any match they are empty."""
    files = write_files(tmp_path, labelled, style)
    before = open_hloc_matches(labelled, *files).of(QUERY)
    with h5py.File(files[2], "r+") as file:
        groups: list[str] = []
        file.visititems(
            lambda _, item: groups.append(item.name) if "matches0" in getattr(item, "keys", dict)() else None
        )
        for group in map(file.__getitem__, groups):
            partner, scores = group["matches0"][()], group["matching_scores0"][()]
            end = int(np.nonzero(partner >= 0)[0].max()) + 1
            del group["matches0"], group["matching_scores0"]
            group["matches0"], group["matching_scores0"] = partner[:end], scores[:end]
    found = open_hloc_matches(labelled, *files).of(QUERY)
    assert (found.points.tolist(), found.similarity.tolist()) == (before.points.tolist(), before.similarity.tolist())
    with h5py.File(files[2], "r+") as file:
        for group in map(file.__getitem__, groups[1:]):
            del group["matches0"], group["matching_scores0"]
            group["matches0"], group["matching_scores0"] = np.zeros(0, np.int32), np.zeros(0, np.float16)
    assert len(open_hloc_matches(labelled, *files).of(QUERY)) == 10


@pytest.mark.parametrize("style", STYLES)
def test_matches_of_a_query_are_found_in_every_layout(tmp_path, labelled, style):
    files = write_files(tmp_path, labelled, style)
    found = open_hloc_matches(labelled, *files).of(QUERY)
    assert found.points.tolist() == list(range(10))
    assert found.similarity == pytest.approx(0.7, abs=1e-3)
    with h5py.File(files[1]) as file:
        assert found.pixels == pytest.approx(file[f"{QUERY}/keypoints"][:10])


def test_key_points_of_a_database_image_that_are_missing(tmp_path, labelled):
    pairs, features, matches = write_files(tmp_path, labelled)
    with h5py.File(features) as file, h5py.File(tmp_path / "q.h5", "w") as out:
        out.create_dataset(f"{QUERY}/keypoints", data=file[f"{QUERY}/keypoints"][()])
    hloc = open_hloc_matches(labelled, pairs, tmp_path / "q.h5", matches)
    assert hloc.partners(QUERY) == DATABASE
    with pytest.raises(FgsnError, match=r"q\.h5 has no key points of 'reference/c0/000\.jpg'"):
        hloc.of(QUERY)


def test_absent_images(tmp_path, labelled, capsys):
    pairs, features, matches = write_files(tmp_path, labelled, pairs=[*DATABASE, "reference/c0/lost.jpg"])
    hloc = open_hloc_matches(labelled, pairs, features, matches)
    assert "1 of 4 database images are not in the map, first 'reference/c0/lost.jpg'" in capsys.readouterr().err
    assert len(hloc.of(QUERY)) == 10
    with pytest.raises(NoMatchesError, match="has no pairs of the query 'other'"):
        hloc.of("other")
    pairs.write_text(f"{QUERY} lost.jpg\n")
    with pytest.raises(FgsnError, match=r"no database image is in the map: 'lost\.jpg' is not.*reference/c0/000"):
        open_hloc_matches(labelled, pairs, features, matches)
    pairs.write_text(f"night/c0/p.jpg {DATABASE[0]}\n")
    with pytest.raises(NoMatchesError, match=r"has no key points of 'night/c0/p\.jpg'"):
        open_hloc_matches(labelled, pairs, features, matches).of("night/c0/p.jpg")


def test_matches_of_other_features_are_refused(tmp_path, labelled):
    pairs, features, matches = write_files(tmp_path, labelled)
    for key, value, says in (
        (f"{dashed(QUERY)}/{dashed(DATABASE[1])}/matches0", np.zeros(7, np.int32), "7 for 12 key points"),
        (f"{dashed(QUERY)}/{dashed(DATABASE[1])}/matches0", np.zeros(13, np.int32), "13 for 12 key points"),
        (f"{dashed(QUERY)}/{dashed(DATABASE[1])}/matches0", np.full(12, 999), "not there"),
        (f"{dashed(QUERY)}/{dashed(DATABASE[1])}/matches0", np.zeros(12), "not of these features"),
    ):
        with h5py.File(matches, "r+") as file:
            del file[key]
            if value is not None:
                file.create_dataset(key, data=value)
        hloc = open_hloc_matches(labelled, pairs, features, matches)
        with pytest.raises(FgsnError, match=says):
            hloc.of(QUERY)
    for value, says in ((np.zeros((12, 1)), r"should be \(N, 2\)"), (np.full((12, 2), np.nan), "not finite")):
        with h5py.File(features, "r+") as file:
            del file[f"{QUERY}/keypoints"]
            file.create_dataset(f"{QUERY}/keypoints", data=value)
        hloc = open_hloc_matches(labelled, pairs, features, matches)
        with pytest.raises(FgsnError, match=says):
            hloc.of(QUERY)


def test_the_other_pairs_of_a_query_count(tmp_path, labelled):
    pairs, features, matches = write_files(tmp_path, labelled)
    with h5py.File(matches, "r+") as file, h5py.File(features, "r+") as images:
        del file[f"{dashed(QUERY)}/{dashed(DATABASE[1])}"], images[DATABASE[2]]
    hloc = open_hloc_matches(labelled, pairs, features, matches)
    assert hloc.of(QUERY).points.tolist() == list(range(10))
    assert len(hloc.lacking) == 2
    assert "has no matches of 'night/c0/q.jpg' with 'reference/c0/001.jpg'" in hloc.lacking[0]
    assert "has no key points of 'reference/c0/002.jpg'" in hloc.lacking[1]
    with h5py.File(features, "r+") as images:
        del images[DATABASE[0]]
    with pytest.raises(NoMatchesError, match=f"'{QUERY}' has no matches with any of 3 images, first: .*000"):
        open_hloc_matches(labelled, pairs, features, matches).of(QUERY)


def test_key_points_of_an_image_of_another_size_are_not_used(tmp_path, labelled):
    pairs, features, matches = write_files(tmp_path, labelled)
    with h5py.File(features, "r+") as file:
        for name, size in ((QUERY, (64, 48)), (DATABASE[0], (64, 48)), (DATABASE[1], (48, 64))):
            file[f"{name}/image_size"] = np.array(size)
    hloc = open_hloc_matches(labelled, pairs, features, matches)
    hloc.check_image(QUERY, labelled.cameras[0])
    assert len(hloc.of(QUERY)) == 10
    (lacking,) = hloc.lacking
    assert lacking.startswith(f"the camera of '{DATABASE[1]}' is 64 x 48 pixels, but the image is 48 x 64; use images")


def test_missing_and_broken_files(tmp_path, labelled):
    pairs, _, matches = write_files(tmp_path, labelled)
    with pytest.raises(FgsnError, match="does not exist"):
        open_hloc_matches(labelled, pairs, tmp_path / "x", matches)
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(FgsnError, match="not a readable HDF5 file"):
        open_hloc_matches(labelled, pairs, tmp_path / "x", matches)


def test_damaged_bytes_never_raise_anything_else(tmp_path, labelled):
    pairs, features, matches = write_files(tmp_path, labelled)
    rng = np.random.default_rng(0)

    def matches_of_query():
        return open_hloc_matches(labelled, pairs, features, matches).of(QUERY)

    for path in (features, matches):
        whole = path.read_bytes()
        for _ in range(150):
            content = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.1 else whole)
            for at in rng.integers(0, len(content), 5):
                content[at] = rng.integers(0, 256)
            path.write_bytes(bytes(content))
            read_or_refused(matches_of_query)
        path.write_bytes(whole)
