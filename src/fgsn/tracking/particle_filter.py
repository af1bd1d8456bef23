"""PFSL: a particle filter that tracks a camera by labels alone (Stenborg et al., ICRA 2018).

A step predicts by odometry and then applies the image's likelihood in tempering steps, none of which reduces the
effective sample size by more than half. After each one the particles are resampled, and each proposes a move that is
accepted by the Metropolis rule (resample-move, Gilks and Berzuini 2001, on a tempered sequence). Moves replace
roughening: they separate the copies of a particle without widening the posterior.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

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
from fgsn.tracking.likelihood import LabelLikelihood
from fgsn.tracking.map_points import MapPoints, MapTensors
from fgsn.tracking.resampling import affordable_exponent, effective_size, systematic

Score = Callable[[Float[Tensor, "poses 3 3"], Float[Tensor, "poses 3"]], Float[Tensor, " poses"]]
"""Log-likelihood of camera rotations (from the world) and centres (relative to the filter's origin)."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a rough pose."""

    metres: tuple[float, float, float] = (3.0, 0.5, 3.0)
    """Of the centre along the camera's axes: right, down, forward."""
    degrees: float = 5.0
    """Of the rotation about each axis."""


@dataclass(frozen=True)
class FilterSettings:
    """Settings of the particle filter."""

    particles: int = 1000
    """Number of particles."""
    points: int = 2000
    """Maximum number of map points used per image."""
    independent_points: float = 100.0
    """Maximum number of independent observations among the points in view: neighbouring points are correlated, so with
    n points in view the log-likelihood is divided by the temperature n / independent_points."""
    occlusion: float = 0.5
    """Share of the points in view that are occluded by others or by objects that are not in the map."""
    effective: float = 0.5
    """Effective sample size that triggers resampling, as a share of the particles."""
    tempering_steps: int = 16
    """Maximum number of tempering steps per image; the likelihood that remains after them is not used."""
    moves: int = 1
    """Moves that every particle proposes after each tempering step."""
    odometry_degrees: float = 0.25
    """Noise of the odometry's rotation about each axis."""
    odometry_share: float = 0.02
    """Noise of the odometry's translation along each axis, as a share of the distance ..."""
    odometry_metres: float = 0.02
    """... plus this constant."""
    slip_share: float = 0.1
    """Share of the steps in which the odometry noise is larger (wheel slip) ..."""
    slip_factor: float = 6.0
    """... by this factor; lets the track recover from a wrong place near the right one."""
    gravity_degrees: float = 1.0
    """Noise of the gravity prior about each of the axes across it."""
    height_metres: float = 0.3
    """Noise of the height prior."""
    lost_below: float = 0.15
    """Explained share (see `LabelLikelihood`) below which an image counts as unexplained."""
    patience: int = 3
    """Consecutive unexplained images after which the track is lost."""
    growth: float = 1.5
    """Factor by which the spread of the particles grows with every image while the track is lost."""
    seed: int = 0


@dataclass(frozen=True)
class PosePrior:
    """Prior knowledge of an image's pose."""

    gravity: NDArray[np.float64] | None = None
    """(3,) downward direction in the camera frame."""
    height: float | None = None
    """z of the camera centre in the world."""


Frame = tuple[Pose, NDArray[np.integer], Camera, PosePrior | None]
"""Odometry (camera from the previous image's camera), label map (H, W), camera, and pose prior of an image."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """The posterior after an image."""

    pose: Pose
    """Camera from world."""
    covariance: NDArray[np.float64]
    """(6, 6): rotation vector in the camera frame (radians), centre in the world (metres)."""
    effective: float
    """Effective sample size."""
    lost: bool
    """Whether the last images are unexplained; the pose is then that of dead reckoning."""
    explained_share: float
    """How well the best particle explains the image: about 1 for a good pose, 0 for a wrong one, or one by chance."""
    used: float
    """Share of the image's log-likelihood that was used; below 1 if the tempering steps did not suffice."""


@dataclass(eq=False)
class ParticleFilter:
    """Tracks one camera. Call `start` once, then `step` for each image; the seed makes it reproducible."""

    points: MapPoints
    confusion: Confusion
    settings: FilterSettings = field(default_factory=FilterSettings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def start(self, pose: Pose, spread: Spread | None = None) -> None:
        """Initialise around a rough pose (camera from world) of the first image."""
        self._spread = spread or Spread()
        self._generator = torch.Generator().manual_seed(self.settings.seed)
        self._origin = np.array(pose.centre, np.float64)
        self._probabilities = self.confusion.probabilities().to(self.device)
        self._map = MapTensors(self.points, self.confusion.labels, self._origin, self.device)
        self._unexplained, self._spread_factor = 0, 1.0
        self._initialise(pose)
        self._reckoned = pose  # by odometry alone since the last explained image

    def step(
        self, odometry: Pose, labels: NDArray[np.integer], camera: Camera, prior: PosePrior | None = None
    ) -> Estimate:
        """Process one image.

        Args:
            odometry: camera from the previous image's camera; the identity for the first image.
            labels: (H, W) label map, with the labels of the confusion matrix; others are ignored.

        Raises:
            FgsnError: the filter was not started, or the label map does not have the camera's size.
        """
        if not hasattr(self, "_origin"):
            raise FgsnError("the particle filter has no start pose; call start first")
        settings = self.settings
        self._reckoned = odometry @ self._reckoned
        self.predict(odometry)
        likelihood, origin, temperature = self._likelihood(labels, camera)

        def score(rotation: Tensor, centre: Tensor) -> Tensor:
            tempered = likelihood.scores(rotation, centre - origin) / temperature
            return tempered + self._prior_score(rotation, centre, prior)

        used, best = self.update(score)
        pose = rotations.to_matrix(self._quaternions[best]), self._centres[best] - origin
        evidence = float(likelihood.scores(pose[0][None], pose[1][None])[0]) / temperature
        # A wrong pose has a mean likelihood ratio of 1, so the best of N particles may reach N: those that have spread
        # far see a few points only, which agree by chance.
        explained = likelihood.explained_share(*pose) if evidence > math.log(len(self._centres)) else 0.0
        self._unexplained = self._unexplained + 1 if explained < settings.lost_below else 0
        lost = self._unexplained >= settings.patience
        estimate = self.estimate(lost, explained, used)
        if lost:
            estimate = replace(estimate, pose=self._reckoned)
            self._spread_factor *= settings.growth
            self._initialise(self._reckoned)
        elif self._unexplained == 0:
            self._reckoned, self._spread_factor = estimate.pose, 1.0
        return estimate

    def predict(self, odometry: Pose) -> None:
        """Move the particles by the odometry (camera from the previous image's camera) and its noise."""
        settings = self.settings
        metres = settings.odometry_share * float(np.linalg.norm(odometry.translation)) + settings.odometry_metres
        noise = torch.tensor([math.radians(settings.odometry_degrees)] * 3 + [metres] * 3, device=self.device)
        self._noise = (noise.square() + self._start_noise.square()).sqrt()
        self._start_noise = torch.zeros_like(noise)
        self._odometry_translation = self._tensor(odometry.translation)
        self._predicted_quaternions = rotations.multiply(self._tensor(odometry.quaternion), self._quaternions)
        self._previous_centres = self._centres
        slipping = torch.rand(len(self._centres), 1, generator=self._generator) < settings.slip_share
        factor = torch.where(slipping, settings.slip_factor, 1.0).to(self.device)
        drawn = self._normal(len(self._centres), 6) * factor * self._noise
        self._quaternions = rotations.multiply(rotations.from_vector(drawn[:, :3]), self._predicted_quaternions)
        backward = rotations.to_matrix(self._quaternions).mT @ (self._odometry_translation + drawn[:, 3:])[..., None]
        self._centres = self._previous_centres - backward[..., 0]

    def update(self, score: Score) -> tuple[float, int]:
        """Weight the particles by a log-likelihood.

        Returns:
            The share of the log-likelihood that was used, and the row of the particle with the largest score.
        """
        settings, count = self.settings, len(self._centres)
        scores = score(rotations.to_matrix(self._quaternions), self._centres)
        used = 0.0
        for _ in range(settings.tempering_steps):
            exponent = affordable_exponent(self._log_weights, scores, 1 - used, settings.effective * count)
            self._log_weights = self._log_weights + exponent * scores
            used += exponent
            if not (used >= 1 and effective_size(self._log_weights) >= settings.effective * count):
                scores = self._resample_and_move(score, scores, used)
            if used >= 1:
                break
        return used, int(scores.argmax())

    def estimate(self, lost: bool = False, explained_share: float = 1.0, used: float = 1.0) -> Estimate:
        """The weighted mean of the particles, with their covariance about it."""
        weights = torch.softmax(self._log_weights.double(), dim=0).float()
        quaternion, centre = self._mean(weights)
        offsets = self._offsets(quaternion, centre)
        covariance = (offsets * weights[:, None]).T @ offsets
        rotation = Pose.from_quaternion(quaternion.cpu().numpy(), np.zeros(3)).rotation
        pose = Pose.from_centre(rotation, self._origin + centre.cpu().double().numpy())
        effective = effective_size(self._log_weights)
        return Estimate(pose, covariance.cpu().double().numpy(), effective, lost, explained_share, used)

    def _initialise(self, pose: Pose) -> None:
        """Move all particles to a pose; the next prediction spreads them."""
        spread, count = self._spread, self.settings.particles
        self._quaternions = self._tensor(pose.quaternion).expand(count, 4)
        self._centres = self._tensor(pose.centre - self._origin).expand(count, 3)
        self._log_weights = torch.zeros(count, device=self.device)
        deviations = torch.tensor([math.radians(spread.degrees)] * 3 + list(spread.metres), device=self.device)
        self._start_noise = deviations * self._spread_factor

    def _likelihood(
        self, labels: NDArray[np.integer], camera: Camera
    ) -> tuple[LabelLikelihood, Float[Tensor, "3"], float]:
        """The likelihood of an image, the origin of its points, and its temperature."""
        settings, points = self.settings, self._map
        weights = torch.softmax(self._log_weights, dim=0)
        quaternion, centre = self._mean(weights)
        deviation = (weights @ self._offsets(quaternion, centre).square()).sqrt()
        radians, metres = 2 * float(deviation[:3].max()), 2 * float(deviation[3:].max())
        pose = rotations.to_matrix(quaternion), centre
        rows = points.in_view(*pose, camera, metres, radians, settings.points, self._generator)
        likelihood = LabelLikelihood.of(
            points.positions[rows] - centre, None if points.cones is None else points.cones[rows], points.labels[rows],
            self._probabilities, labels, camera, settings.occlusion,
        )  # fmt: skip
        return likelihood, centre, max(1.0, len(rows) / settings.independent_points)

    def _prior_score(self, rotation: Tensor, centre: Tensor, prior: PosePrior | None) -> Tensor:
        scores = torch.zeros(len(centre), device=self.device)
        if prior is not None and prior.height is not None:
            error = centre[:, 2] - (prior.height - float(self._origin[2]))
            scores = scores - (error / self.settings.height_metres).square() / 2
        if prior is not None and prior.gravity is not None:
            down = torch.nn.functional.normalize(self._tensor(prior.gravity), dim=0)
            error = torch.linalg.cross(-rotation[:, :, 2], down.expand(len(rotation), 3))
            scores = scores - error.square().sum(dim=1) / math.radians(self.settings.gravity_degrees) ** 2 / 2
        return scores

    def _resample_and_move(self, score: Score, scores: Tensor, used: float) -> Tensor:
        """Resample the particles, and move them without changing their distribution; returns their scores."""
        weights = torch.softmax(self._log_weights.double(), dim=0).float()
        offsets = self._offsets(*self._mean(weights))
        covariance = ((offsets * weights[:, None]).T @ offsets).double()
        jitter = 1e-12 * torch.eye(6, dtype=torch.float64, device=self.device)
        shape = torch.linalg.cholesky(covariance + jitter).float()
        rows = systematic(weights, float(torch.rand((), generator=self._generator)))
        self._quaternions, self._centres = self._quaternions[rows], self._centres[rows]
        self._predicted_quaternions = self._predicted_quaternions[rows]
        self._previous_centres = self._previous_centres[rows]
        self._log_weights, scores = torch.zeros_like(weights), scores[rows]
        for _ in range(self.settings.moves):
            scores = self._move(score, scores, used, shape)
        return scores

    def _move(self, score: Score, scores: Tensor, used: float, shape: Float[Tensor, "6 6"]) -> Tensor:
        """Propose a move for every particle, and accept it by the Metropolis rule; returns the scores."""
        count = len(scores)
        # Long and short moves, since the posterior may have several modes.
        length = 10 ** (-1.5 * torch.rand(count, 1, generator=self._generator)).to(self.device)
        offset = length * (self._normal(count, 6) @ shape.T)
        quaternions = rotations.multiply(rotations.from_vector(offset[:, :3]), self._quaternions)
        centres = self._centres + offset[:, 3:]
        proposed = score(rotations.to_matrix(quaternions), centres)
        gain = self._log_noise(quaternions, centres) - self._log_noise(self._quaternions, self._centres)
        gain = gain + used * (proposed - scores)
        accepted = torch.rand(count, generator=self._generator).to(self.device).log() < gain
        self._quaternions = torch.where(accepted[:, None], quaternions, self._quaternions)
        self._centres = torch.where(accepted[:, None], centres, self._centres)
        return torch.where(accepted, proposed, scores)

    def _log_noise(self, quaternions: Tensor, centres: Tensor) -> Tensor:
        """Log-density of the odometry noise from each particle's previous pose to these poses, up to a constant."""
        turn = rotations.difference(quaternions, self._predicted_quaternions)
        moved = (rotations.to_matrix(quaternions) @ (self._previous_centres - centres)[..., None])[..., 0]
        square = (torch.cat([turn, moved - self._odometry_translation], dim=1) / self._noise).square().sum(dim=1)
        share, factor = torch.tensor(self.settings.slip_share), self.settings.slip_factor
        return torch.logaddexp(
            torch.log1p(-share) - square / 2, torch.log(share) - 6 * math.log(factor) - square / factor**2 / 2
        )

    def _offsets(self, quaternion: Tensor, centre: Tensor) -> Float[Tensor, "particles 6"]:
        """Rotation vectors (in the camera frame) and centres of the particles relative to one pose."""
        return torch.cat([rotations.difference(self._quaternions, quaternion), self._centres - centre], dim=1)

    def _mean(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted mean pose of the particles."""
        return rotations.mean(self._quaternions, weights), weights @ self._centres

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator).to(self.device)

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)


def track(
    points: MapPoints,
    confusion: Confusion,
    frames: Iterable[Frame],
    start: Pose,
    spread: Spread | None = None,
    settings: FilterSettings | None = None,
    device: torch.device | None = None,
) -> list[Estimate]:
    """Track a camera through a sequence of images, from a rough pose `start` of the first one, camera from world.

    Returns:
        One estimate per image.
    """
    tracker = ParticleFilter(points, confusion, settings or FilterSettings(), device or torch.device("cpu"))
    tracker.start(start, spread)
    return [tracker.step(*frame) for frame in frames]
