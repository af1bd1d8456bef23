"""Text and HDF5 formats defined elsewhere: queries, pairs, poses, priors, ground truth, hloc."""
