"""What comes in: images, correspondences, labelled sets, the embedded world."""
