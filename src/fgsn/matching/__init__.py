"""Matching of images: local features, candidate pairs, verification, densification, triangulation, reconstruction."""
