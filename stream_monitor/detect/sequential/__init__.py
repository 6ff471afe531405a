"""Detectors that take one value, or one pane, after the other."""
