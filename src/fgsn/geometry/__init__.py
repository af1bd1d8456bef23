"""Poses, cameras, projections and COLMAP models."""
