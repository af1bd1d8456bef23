"""Images, correspondences, labelled image sets and data sets."""
