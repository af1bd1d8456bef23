"""One page about a run: figures, curves, places, clusters and poses."""
