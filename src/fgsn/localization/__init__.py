"""Camera poses from labels: maps of labels, matches, estimators, and the files of hloc and the benchmarks."""
