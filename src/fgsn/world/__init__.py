"""The synthetic town: a procedural town, driven in several conditions, with exact poses, depths and labels."""

from fgsn.world.make import make_world

__all__ = ["make_world"]
