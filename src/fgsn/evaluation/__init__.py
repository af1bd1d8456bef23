"""Figures about labels, and the page that shows them."""
