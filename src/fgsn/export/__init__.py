"""Models and maps of labels in the formats of other programs."""
