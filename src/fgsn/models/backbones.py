"""The registry of backbones: names, builders and the maps that backbones return."""

from collections.abc import Callable

from torch import Tensor, nn

from fgsn.errors import UsageError, nearest


class Backbone(nn.Module):
    """The interface between a backbone and the head."""

    channels: tuple[int, ...]
    """Channels of the maps that `forward` returns, from fine to coarse."""
    aux: int
    """Index of the map that feeds the auxiliary head."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of (B, 3, H, W) images, from fine to coarse; the first one has a cell every 8 pixels."""
        raise NotImplementedError


Builder = Callable[[], Backbone]
_BUILDERS: dict[str, Builder] = {}


def backbone(name: str) -> Callable[[Builder], Builder]:
    """Register a function that builds the backbone `name`."""

    def register(build: Builder) -> Builder:
        _BUILDERS[name] = build
        return build

    return register


def build_backbone(name: str) -> Backbone:
    """Build a backbone with random weights.

    Raises UsageError if none has this name, MissingExtraError if it comes from timm, which is not installed.
    """
    if name.startswith("timm/"):
        from fgsn.models.timm_net import timm_backbone

        return timm_backbone(name)
    names = backbone_names()
    if name not in names:
        raise UsageError(f"unknown backbone '{name}'; {nearest(name, names)}, or timm/NAME for a timm network")
    return _BUILDERS[name]()


def backbone_names() -> list[str]:
    """Names of all backbones except timm's."""
    # Importing the families registers them.
    from fgsn.models import inverted_residual, resnet  # noqa: F401

    return list(_BUILDERS)
