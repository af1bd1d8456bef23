"""Track a camera along a sequence by labels: the particle filter and its likelihood."""
