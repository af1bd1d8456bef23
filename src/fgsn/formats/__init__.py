"""Text and HDF5 files that others define: queries, pairs, poses, priors, ground truth, hloc."""
