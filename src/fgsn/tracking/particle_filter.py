"""PFSL: a particle filter that tracks a camera by labels alone (Stenborg et al., ICRA 2018).

A step predicts by odometry and then takes the image's evidence in small portions, so that never more than half of the
effective particles are lost at once; after each portion the particles are drawn anew, and every one proposes a move
that is accepted by Metropolis' rule (resample-move, Gilks and Berzuini 2001, on a tempered sequence). Moves replace
roughening: they part the copies of a particle without widening what the filter believes.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.geometry import rotations
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.tracking.confusion import Confusion
from fgsn.tracking.likelihood import LabelEvidence
from fgsn.tracking.map_points import MapPoints, PointsInView
from fgsn.tracking.resampling import affordable_exponent, effective_size, systematic

Score = Callable[[Float[Tensor, "poses 3 3"], Float[Tensor, "poses 3"]], Float[Tensor, " poses"]]
"""Log-likelihood of camera rotations (from the world) and centres (about the filter's origin)."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a rough pose."""

    metres: tuple[float, float, float] = (3.0, 0.5, 3.0)
    """Of the centre along the camera's axes: right, down, forward."""
    degrees: float = 5.0
    """Of the rotation about each axis."""


@dataclass(frozen=True)
class FilterSettings:
    """How the particle filter works."""

    particles: int = 1000
    """Number of particles."""
    points: int = 2000
    """Map points that are looked up per image, at most."""
    witnesses: float = 100.0
    """Independent observations that the points in view are worth at most: neighbouring points repeat each other, so
    with n points in view the evidence is divided by the temperature n / witnesses."""
    occlusion: float = 0.5
    """Share of the points in view that are hidden by others or by what is not in the map."""
    effective: float = 0.5
    """Share of effective particles below which they are drawn anew."""
    portions: int = 16
    """Portions of an image's evidence, at most; what is left then is not used."""
    moves: int = 1
    """Moves that every particle proposes after each portion."""
    odometry_degrees: float = 0.25
    """Noise of the odometry's rotation about each axis."""
    odometry_share: float = 0.02
    """Noise of the odometry's translation along each axis, as a share of the distance ..."""
    odometry_metres: float = 0.02
    """... and in addition."""
    slip_share: float = 0.1
    """Share of the steps in which the odometry may be much worse than that ..."""
    slip_factor: float = 6.0
    """... by this factor: lets the track leave a wrong place near the right one."""
    gravity_degrees: float = 1.0
    """Noise of the gravity prior about each of the axes across it."""
    height_metres: float = 0.3
    """Noise of the height prior."""
    mode: bool = False
    """Report the mode of the particles instead of their mean."""
    lost_below: float = 0.15
    """Support (see `LabelEvidence.support`) below which an image is not explained."""
    patience: int = 3
    """Unexplained images in a row after which the track is lost."""
    growth: float = 1.5
    """Factor by which the particles are spread wider with every image while the track is lost."""
    seed: int = 0


@dataclass(frozen=True)
class PosePrior:
    """What else is known of an image's pose."""

    gravity: NDArray[np.float64] | None = None
    """(3,) down, in the camera's frame."""
    height: float | None = None
    """z of the camera's centre in the world."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the filter believes after an image."""

    pose: Pose
    """Camera from world."""
    covariance: NDArray[np.float64]
    """(6, 6): rotation vector in the camera's frame (radians), centre in the world (metres)."""
    effective: float
    """Effective number of particles."""
    lost: bool
    """Whether the last images could not be explained; the pose is then that of the odometry."""
    support: float
    """How well the image is explained at the best particle: about 1 is well, 0 is not at all."""
    used: float
    """Share of the image's evidence that was used; below 1 where the portions did not suffice."""


@dataclass(eq=False)
class ParticleFilter:
    """Tracks one camera. Call `start` once, then `step` for each image; the same seed gives the same track."""

    points: MapPoints
    confusion: Confusion
    settings: FilterSettings = field(default_factory=FilterSettings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def start(self, pose: Pose, spread: Spread | None = None) -> None:
        """Begin around a rough pose (camera from world) of the first image, before any odometry.

        Args:
            pose: for example that of the map image that looks most alike, or from a satellite receiver.
            spread: how rough it is.
        """
        self._spread = spread or Spread()
        self._generator = torch.Generator().manual_seed(self.settings.seed)
        self._origin = np.array(pose.centre, np.float64)
        probabilities = self.confusion.probabilities().to(self.device)
        self._probabilities = probabilities
        self._map = PointsInView(self.points, len(probabilities), self._origin, self.device)
        self._unexplained, self._wider = 0, 1.0
        self._respread(pose)
        self._reckoned = pose

    def step(
        self,
        odometry: Pose,
        labels: NDArray[np.integer],
        camera: Camera,
        prior: PosePrior | None = None,
    ) -> Estimate:
        """Take in one image.

        Args:
            odometry: camera from the previous image's camera; the identity for the first image.
            labels: (H, W) label map, with the labels of the confusion matrix; others say nothing.
            camera: of the image.
            prior: gravity and height, where known.

        Raises:
            FgsnError: the filter was not started, or the label map is not of the camera's size.
        """
        if not hasattr(self, "_origin"):
            raise FgsnError("the particle filter has no pose to start from; call start first")
        settings = self.settings
        self._reckoned = odometry @ self._reckoned
        self.predict(odometry)
        evidence, middle, temperature = self._look(labels, camera)

        def score(rotation: Tensor, centre: Tensor) -> Tensor:
            seen = evidence.scores(rotation, centre - middle) / temperature
            return seen + self._prior_score(rotation, centre, prior)

        used, best = self.update(score)
        support = evidence.support(rotations.to_matrix(self._quaternions[best]), self._centres[best] - middle)
        self._unexplained = self._unexplained + 1 if support < settings.lost_below else 0
        lost = self._unexplained >= settings.patience
        estimate = self.estimate(lost, support, used)
        if lost:
            estimate = Estimate(self._reckoned, estimate.covariance, estimate.effective, True, support, used)
            self._wider *= settings.growth
            self._respread(self._reckoned)
        elif self._unexplained == 0:
            self._reckoned, self._wider = estimate.pose, 1.0
        return estimate

    def predict(self, odometry: Pose) -> None:
        """Move the particles by the odometry (camera from the previous image's camera) and its noise."""
        settings, translation = self.settings, self._tensor(odometry.translation)
        slip = settings.odometry_share * float(np.linalg.norm(odometry.translation)) + settings.odometry_metres
        noise = torch.tensor([math.radians(settings.odometry_degrees)] * 3 + [slip] * 3, device=self.device)
        self._noise = (noise.square() + self._pending.square()).sqrt()
        self._pending = torch.zeros_like(noise)
        self._motion = translation
        self._unturned = rotations.multiply(self._tensor(odometry.quaternion), self._quaternions)
        self._from = self._centres
        slipping = torch.rand(len(self._centres), 1, generator=self._generator) < settings.slip_share
        factor = torch.where(slipping, settings.slip_factor, 1.0).to(self.device)
        drawn = self._normal(len(self._centres), 6) * factor * self._noise
        self._quaternions = rotations.multiply(rotations.from_vector(drawn[:, :3]), self._unturned)
        back = rotations.to_matrix(self._quaternions).mT @ (translation + drawn[:, 3:])[..., None]
        self._centres = self._from - back[..., 0]

    def update(self, score: Score) -> tuple[float, int]:
        """Weigh the particles by a log-likelihood.

        Returns:
            The share of the evidence that was used, and the row of the particle with the largest score.
        """
        settings, count = self.settings, len(self._centres)
        scores = score(rotations.to_matrix(self._quaternions), self._centres)
        used = 0.0
        for _ in range(settings.portions):
            portion = affordable_exponent(self._log_weights, scores, 1 - used, settings.effective * count)
            self._log_weights = self._log_weights + portion * scores
            used += portion
            if used >= 1 and effective_size(self._log_weights) >= settings.effective * count:
                break
            scores = self._resample_and_move(score, scores, used)
            if used >= 1:
                break
        return used, int(scores.argmax())

    def estimate(self, lost: bool = False, support: float = 1.0, used: float = 1.0) -> Estimate:
        """The weighted mean of the particles, or their mode, with their covariance about it."""
        weights = torch.softmax(self._log_weights.double(), dim=0).float()
        quaternion, centre = rotations.mean(self._quaternions, weights), weights @ self._centres
        if self.settings.mode:
            quaternion, centre = self._mode(weights)
        offsets = self._offsets(quaternion, centre)
        covariance = (offsets * weights[:, None]).T @ offsets
        rotation = Pose.from_quaternion(quaternion.cpu().numpy(), np.zeros(3)).rotation
        pose = Pose.from_centre(rotation, self._origin + centre.cpu().double().numpy())
        return Estimate(pose, covariance.cpu().double().numpy(), effective_size(self._log_weights), lost, support, used)

    def _respread(self, pose: Pose) -> None:
        """Put all particles at a pose; the next prediction spreads them."""
        spread, count = self._spread, self.settings.particles
        self._quaternions = self._tensor(pose.quaternion).expand(count, 4)
        self._centres = self._tensor(pose.centre - self._origin).expand(count, 3)
        self._log_weights = torch.zeros(count, device=self.device)
        deviations = torch.tensor([math.radians(spread.degrees)] * 3 + list(spread.metres), device=self.device)
        self._pending = deviations * self._wider

    def _look(self, labels: NDArray[np.integer], camera: Camera) -> tuple[LabelEvidence, Float[Tensor, "3"], float]:
        """The evidence of an image, the centre that it is given about, and its temperature."""
        settings, seen = self.settings, self._map
        weights = torch.softmax(self._log_weights, dim=0)
        quaternion, centre = rotations.mean(self._quaternions, weights), weights @ self._centres
        deviation = (weights @ self._offsets(quaternion, centre).square()).sqrt()
        radians, metres = 2 * float(deviation[:3].max()), 2 * float(deviation[3:].max())
        rotation = rotations.to_matrix(quaternion)
        rows = seen.choose(rotation, centre, camera, metres, radians, settings.points, self._generator)
        evidence = LabelEvidence.of(
            seen.positions[rows] - centre, None if seen.cones is None else seen.cones[rows], seen.labels[rows],
            self._probabilities, labels, camera, settings.occlusion,
        )  # fmt: skip
        return evidence, centre, max(1.0, len(rows) / settings.witnesses)

    def _prior_score(self, rotation: Tensor, centre: Tensor, prior: PosePrior | None) -> Tensor:
        scores = torch.zeros(len(centre), device=self.device)
        if prior is not None and prior.height is not None:
            off = centre[:, 2] - (prior.height - float(self._origin[2]))
            scores = scores - (off / self.settings.height_metres).square() / 2
        if prior is not None and prior.gravity is not None:
            down = torch.nn.functional.normalize(self._tensor(prior.gravity), dim=0)
            off = torch.linalg.cross(-rotation[:, :, 2], down.expand(len(rotation), 3))
            scores = scores - off.square().sum(dim=1) / math.radians(self.settings.gravity_degrees) ** 2 / 2
        return scores

    def _resample_and_move(self, score: Score, scores: Tensor, used: float) -> Tensor:
        """Draw the particles anew, and move them so that what they stand for stays the same; returns their scores."""
        weights = torch.softmax(self._log_weights.double(), dim=0).float()
        offsets = self._offsets(rotations.mean(self._quaternions, weights), weights @ self._centres)
        covariance = ((offsets * weights[:, None]).T @ offsets).double()
        floor = 1e-12 * torch.eye(6, dtype=torch.float64, device=self.device)
        shape = torch.linalg.cholesky(covariance + floor).float()
        rows = systematic(weights, float(torch.rand((), generator=self._generator)))
        self._quaternions, self._centres = self._quaternions[rows], self._centres[rows]
        self._unturned, self._from = self._unturned[rows], self._from[rows]
        self._log_weights, scores = torch.zeros_like(weights), scores[rows]
        for _ in range(self.settings.moves):
            scores = self._move(score, scores, used, shape)
        return scores

    def _move(self, score: Score, scores: Tensor, used: float, shape: Float[Tensor, "6 6"]) -> Tensor:
        """Propose one move for every particle, and accept it by Metropolis' rule; returns the scores."""
        count = len(scores)
        # Long and short moves, since the particles may lie in several heaps.
        length = 10 ** (-1.5 * torch.rand(count, 1, generator=self._generator)).to(self.device)
        change = length * (self._normal(count, 6) @ shape.T)
        quaternions = rotations.multiply(rotations.from_vector(change[:, :3]), self._quaternions)
        centres = self._centres + change[:, 3:]
        proposed = score(rotations.to_matrix(quaternions), centres)
        gain = self._log_noise(quaternions, centres) - self._log_noise(self._quaternions, self._centres)
        gain = gain + used * (proposed - scores)
        accepted = torch.rand(count, generator=self._generator).to(self.device).log() < gain
        self._quaternions = torch.where(accepted[:, None], quaternions, self._quaternions)
        self._centres = torch.where(accepted[:, None], centres, self._centres)
        return torch.where(accepted, proposed, scores)

    def _log_noise(self, quaternions: Tensor, centres: Tensor) -> Tensor:
        """Log-density of getting from each particle's last pose to these poses, up to a constant."""
        turn = rotations.to_vector(rotations.multiply(quaternions, rotations.inverse(self._unturned)))
        moved = (rotations.to_matrix(quaternions) @ (self._from - centres)[..., None])[..., 0]
        square = (torch.cat([turn, moved - self._motion], dim=1) / self._noise).square().sum(dim=1)
        share, factor = torch.tensor(self.settings.slip_share), self.settings.slip_factor
        return torch.logaddexp(
            torch.log1p(-share) - square / 2, torch.log(share) - 6 * math.log(factor) - square / factor**2 / 2
        )

    def _offsets(self, quaternion: Tensor, centre: Tensor) -> Float[Tensor, "particles 6"]:
        """Rotation vectors in the camera's frame and centres of the particles, from one pose."""
        turn = rotations.to_vector(rotations.multiply(self._quaternions, rotations.inverse(quaternion)))
        return torch.cat([turn, self._centres - centre], dim=1)

    def _mode(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean shift from the heaviest particle's surroundings; the bandwidth is that of Scott's rule."""
        quaternion, centre = rotations.mean(self._quaternions, weights), weights @ self._centres
        deviation = (weights @ self._offsets(quaternion, centre).square()).sqrt().clamp(min=1e-6)
        width = deviation * len(weights) ** (-1 / 10)
        best = int(weights.argmax())
        quaternion, centre = self._quaternions[best], self._centres[best]
        for _ in range(20):
            near = (self._offsets(quaternion, centre) / width).square().sum(dim=1)
            kernel = weights * torch.exp(-near / 2)
            quaternion, centre = rotations.mean(self._quaternions, kernel), kernel @ self._centres / kernel.sum()
        return quaternion, centre

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator).to(self.device)

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)


def track(
    points: MapPoints,
    confusion: Confusion,
    frames: Iterable[tuple[Pose, NDArray[np.integer], Camera, PosePrior | None]],
    start: Pose,
    spread: Spread | None = None,
    settings: FilterSettings | None = None,
    device: torch.device | None = None,
) -> list[Estimate]:
    """Track a camera through a sequence of images.

    Args:
        points: the map.
        confusion: how its labels change in such images.
        frames: odometry (camera from the previous camera), label map (H, W), camera, and what else is known.
        start: rough pose of the first image, camera from world.
        spread: how rough it is.
        settings: of the filter.
        device: where the particles live.

    Returns:
        One estimate per image.
    """
    tracker = ParticleFilter(points, confusion, settings or FilterSettings(), device or torch.device("cpu"))
    tracker.start(start, spread)
    return [tracker.step(*frame) for frame in frames]
