"""Judges retained profiles again: with other settings, or to explain an alert."""
