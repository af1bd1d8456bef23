"""Figures about labels and poses."""
