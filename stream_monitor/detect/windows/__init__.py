"""Tests that compare a window with a baseline."""
