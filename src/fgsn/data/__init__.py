"""What comes in: images, correspondences, labelled sets, the synthetic town."""
