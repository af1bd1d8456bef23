"""Correspondences across conditions from one's own photographs, COLMAP models or depth maps."""
