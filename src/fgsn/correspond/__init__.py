"""Correspondences across conditions, from images, COLMAP models or depth maps."""
