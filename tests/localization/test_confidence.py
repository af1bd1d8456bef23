"""The confidence of poses: what it rests on, and that it grows with what speaks for a pose."""

import numpy as np
import pytest

from fgsn.geometry.pose import Pose
from fgsn.localization.confidence import PoseEvidence, pose_evidence


def test_evidence_of_a_pose():
    pose = Pose(np.eye(3), np.array([0.0, 0.0, 2.0]))  # the camera stands at z = -2
    inliers = np.array([True, False, True, True])
    assert pose_evidence(pose, inliers, np.array([(0, 0, 5.0), (0, 3, 2.0)])) == (3, 5.0)


@pytest.mark.parametrize("better", [{"inliers": 60}, {"distance": 1.0}])
def test_confidence_grows_with_what_speaks_for_a_pose(better):
    some = PoseEvidence(20, 5.0)
    assert 0 < some.confidence < some._replace(**better).confidence < 1


def test_extremes_are_sure():
    assert PoseEvidence(200, 0.0).confidence > 0.99
    assert PoseEvidence(5, 100.0).confidence < 0.05
    assert np.isfinite(PoseEvidence(1, 1e9).confidence)
