"""Retained profiles judged again: with other settings, or to explain an alert."""
