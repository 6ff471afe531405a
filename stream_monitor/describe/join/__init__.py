"""Joins labels and feedback to predictions."""
