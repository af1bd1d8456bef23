"""Metrics of labels and poses."""
