"""Confusion and overlap: the metrics of the authors' code, and scikit-learn's."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from fgsn.errors import FgsnError
from fgsn.evaluation.confusion_matrix import confusion_metrics, confusion_of

GOLDEN = json.loads(Path(__file__).with_name("golden_overlap.json").read_text())
NAMES = [f"class {n}" for n in range(5)]
OURS = {"acc": "pixel_accuracy", "acc_cls": "mean_accuracy", "mean_iu": "mean_iou", "fwavacc": "weighted_iou"}


def test_metrics_are_those_of_the_authors_code_image_by_image():
    confusion = np.zeros((5, 5), np.int64)
    for number, (truth, predicted) in enumerate((("gt", "pred"), ("gt2", "pred2")), start=1):
        confusion += confusion_of(np.array(GOLDEN[truth]), np.array(GOLDEN[predicted]), 5, 5)
        np.testing.assert_array_equal(confusion, GOLDEN[f"confmat_after_{number}"])
        metrics, theirs = confusion_metrics(confusion, NAMES), GOLDEN[f"result_{number}"]
        for their_name, our_name in OURS.items():
            assert metrics[our_name] == pytest.approx(theirs[their_name], abs=1e-12)


def test_clusters_against_classes_are_counted_as_in_the_authors_code():
    theirs = GOLDEN["fast_hist_cluster"]
    truth = np.array(GOLDEN["gt"]).ravel()
    found = confusion_of(truth, np.array(theirs["pred_cluster"]), 5, theirs["n_clusters"])
    np.testing.assert_array_equal(found, theirs["hist"])


def test_scikit_learn_agrees():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, (2, 40, 30))
    confusion = confusion_of(truth, predicted, 5, 5)
    np.testing.assert_array_equal(confusion, confusion_matrix(truth.ravel(), predicted.ravel(), labels=range(5)))
    metrics = confusion_metrics(confusion, NAMES)
    assert metrics["mean_iou"] == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="macro"))
    assert metrics["weighted_iou"] == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="weighted"))


def test_classes_that_the_truth_lacks_are_not_averaged_over():
    confusion = confusion_of(np.array([0, 0, 1, 255]), np.array([0, 2, 1, 4]), 5, 5)
    assert confusion_metrics(confusion, NAMES)["iou"] == {"class 0": 0.5, "class 1": 1.0}
    assert confusion_metrics(confusion, NAMES)["mean_iou"] == 0.75


def test_nothing_labelled_is_zero_and_not_nan():
    metrics = confusion_metrics(np.zeros((5, 5), np.int64), NAMES)
    assert metrics["mean_iou"] == metrics["pixel_accuracy"] == 0.0
    assert metrics["iou"] == {}


@pytest.mark.parametrize("predicted", [[0, 1], [0, 1, 3], [0, -1, 2], [0.0, 1.0, 2.0]])
def test_labels_that_do_not_fit_are_refused(predicted):
    with pytest.raises(FgsnError, match="labels"):
        confusion_of(np.array([0, 1, 2]), np.array(predicted), 3, 3)


def test_a_matrix_that_is_not_square_or_not_of_these_classes_is_refused():
    for shape, classes in (((2, 3), "ab"), ((3, 3), "ab"), ((2,), "ab")):
        with pytest.raises(FgsnError, match="the confusion matrix of 2 classes has the shape"):
            confusion_metrics(np.zeros(shape, int), classes)
