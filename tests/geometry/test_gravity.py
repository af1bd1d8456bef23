"""Which way is up in a map that does not stand upright."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.spatial.transform import Rotation

from fgsn.bench.street import LEVEL
from fgsn.errors import FgsnError
from fgsn.geometry.gravity import up_of_cameras
from fgsn.geometry.pose import Pose


def drive(turn: Rotation, yaw: float, pitch: float, rng: np.random.Generator) -> Pose:
    """A bent drive in a world that was turned: one camera, mounted at a yaw and a pitch, with half a degree of sway."""
    bend = np.linspace(0, 60, 25)
    centres = np.cumsum([[2 * np.cos(np.deg2rad(b)), 2 * np.sin(np.deg2rad(b)), 0] for b in bend], axis=0)
    mounted = Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix()
    sway = Rotation.from_rotvec(np.deg2rad(0.5) * rng.normal(size=(25, 3))).as_matrix()
    level = np.stack([LEVEL @ Rotation.from_euler("z", b, degrees=True).as_matrix().T for b in bend])
    return Pose.from_centre(sway @ mounted @ level @ turn.as_matrix().T, turn.apply(centres))


@given(seed=st.integers(0, 2**32 - 1), yaw=st.floats(-180, 180), pitch=st.floats(-30, 30))
def test_up_is_found_however_the_camera_is_mounted(seed, yaw, pitch):
    rng = np.random.default_rng(seed)
    turn = Rotation.from_quat(rng.normal(size=4))
    up = up_of_cameras(drive(turn, yaw, pitch, rng))
    assert np.linalg.norm(up) == pytest.approx(1)
    assert np.degrees(np.arccos(up @ turn.apply([0, 0, 1]))) < 1.0


def test_poses_that_are_none():
    for poses in (Pose(np.zeros((0, 3, 3)), np.zeros((0, 3))), Pose(np.full((4, 3, 3), np.nan), np.zeros((4, 3)))):
        with pytest.raises(FgsnError, match="no list of cameras, or their poses are not finite"):
            up_of_cameras(poses)


def test_cameras_that_stand_in_one_place_do_not_tell():
    poses = Pose.from_centre(np.tile(LEVEL, (3, 1, 1)), np.zeros((3, 3)))
    with pytest.raises(FgsnError, match="do not determine which direction is up"):
        up_of_cameras(poses)
