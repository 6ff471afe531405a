"""Describing normal and detecting change: baselines, window tests, sequential detectors. Pure functions on arrays."""
