"""What the numbers of poses may have been meant as, for messages about poses that do not fit."""

import numpy as np

from fgsn.geometry.pose import Pose

CENTRES = "camera centres in place of translations"
INVERTED = "poses from the camera to the world"
W_LAST = "quaternions with w last"
EXPECTED = "give poses from the world to the camera, as qw qx qy qz tx ty tz"


def other_readings(poses: Pose) -> dict[str, Pose]:
    """N poses `camera_from_world` under every other common meaning of their seven numbers `qw qx qy qz tx ty tz`.

    There are N for each combination of CENTRES or INVERTED with W_LAST.
    """
    w_last = Pose.from_quaternion(np.roll(poses.quaternion, 1, axis=-1), poses.translation)
    found = {}
    for end, one in (("", poses), (f" and {W_LAST}", w_last)):
        found[CENTRES + end] = Pose.from_centre(one.rotation, one.translation)
        found[INVERTED + end] = one.inverse()
    return found | {W_LAST: w_last}
