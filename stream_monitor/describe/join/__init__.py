"""Predictions meet their labels and feedback."""
