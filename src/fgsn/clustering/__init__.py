"""Whitening, k-means and the codebook made of both."""
