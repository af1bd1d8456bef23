"""Metrics about labels and poses."""
