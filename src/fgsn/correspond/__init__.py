"""Correspondences across conditions from one's own images, COLMAP models or depth maps."""
