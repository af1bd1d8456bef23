"""Models and labelled maps in the formats of other programs."""
