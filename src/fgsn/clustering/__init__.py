"""Whitening, k-means and the codebook that combines them."""
