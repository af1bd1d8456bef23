"""Files of an hloc folder are found by what they contain."""

import h5py
import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.formats.hloc import find_hloc_files, read_pairs

QUERY, DATABASE = "query/night/1.jpg", "db/7.jpg"


@pytest.fixture
def folder(tmp_path):
    """As hloc leaves it: lists and matches of the map's images lie beside those of the queries."""
    (tmp_path / "pairs-db-covis20.txt").write_text("db/7.jpg db/8.jpg\n")
    (tmp_path / "pairs-query-netvlad50.txt").write_text(f"{QUERY} {DATABASE}\n")
    (tmp_path / "results.txt").write_text(f"{QUERY} 1 0 0 0 0 0 0\n")
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe\x00")
    with h5py.File(tmp_path / "global-feats-netvlad.h5", "w") as file:
        file[f"{QUERY}/global_descriptor"] = np.zeros(4)
    with h5py.File(tmp_path / "feats-superpoint-n4096-r1024.h5", "w") as file:
        file[f"{QUERY}/keypoints"] = np.zeros((1, 2))
    for name, group in (("db-covis20", "db-7.jpg/db-8.jpg"), ("query-netvlad50", "query-night-1.jpg/db-7.jpg")):
        with h5py.File(tmp_path / f"feats-superpoint_matches-lightglue_pairs-{name}.h5", "w") as file:
            file[f"{group}/matches0"] = np.zeros(1, int)
    return tmp_path


def test_each_file_is_known_by_its_content(folder):
    found = find_hloc_files(folder, ["query/night/0.jpg", QUERY])
    assert [path.name for path in found] == [
        "pairs-query-netvlad50.txt",
        "feats-superpoint-n4096-r1024.h5",
        "feats-superpoint_matches-lightglue_pairs-query-netvlad50.h5",
    ]


def test_a_plain_name_decides(folder):
    second = folder / "feats-sift.h5"
    second.write_bytes((folder / "feats-superpoint-n4096-r1024.h5").read_bytes())
    with pytest.raises(FgsnError, match=r"several files .*feats-sift.h5, feats-superpoint.*link the right one as feat"):
        find_hloc_files(folder, [QUERY])
    (folder / "features.h5").symlink_to(second)
    assert find_hloc_files(folder, [QUERY]).features.name == "features.h5"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("pairs-query", r"no \*.txt file with the list of pairs"),
        ("feats-superpoint-n", r"no \*.h5 file with the key points of 'query/night/1.jpg'"),
        ("feats-superpoint_matches-lightglue_pairs-query", r"no \*.h5 file with the matches of .* with 'db/7.jpg'"),
    ],
)
def test_what_is_missing_is_named(folder, lost, message):
    next(folder.glob(f"{lost}*")).unlink()
    with pytest.raises(FgsnError, match=message):
        find_hloc_files(folder, [QUERY])


def test_pairs_of_other_queries_are_no_use(folder):
    (folder / "pairs.txt").write_text("a.jpg b.jpg\n")
    with pytest.raises(FgsnError, match=r"pairs.txt has no pairs of the query 'query/night/1.jpg'"):
        find_hloc_files(folder, [QUERY])
    with pytest.raises(FgsnError, match="is not a folder"):
        find_hloc_files(folder / "feats-superpoint-n4096-r1024.h5", [QUERY])


def test_pairs_and_what_is_no_list_of_them(tmp_path):
    pairs = tmp_path / "pairs.txt"
    for text, says in (("a b\na b c\n", r"pairs\.txt:2: expected"), ("a\n", r"pairs\.txt:1"), ("# none\n", "no pairs")):
        pairs.write_text(text)
        with pytest.raises(FgsnError, match=says):
            read_pairs(pairs)
    pairs.write_text("q a\nq b\nq a\np a\n")
    assert read_pairs(pairs) == {"q": ["a", "b"], "p": ["a"]}
