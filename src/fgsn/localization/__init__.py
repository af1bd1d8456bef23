"""Localization by labels: labelled maps, matches, robust poses, and trackers."""
