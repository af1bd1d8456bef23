"""One page about a run: metrics, curves, places, clusters and poses."""
