"""The synthetic town: a procedural town in several conditions, with exact poses, depth maps and labels."""

from fgsn.world.make import make_world

__all__ = ["make_world"]
