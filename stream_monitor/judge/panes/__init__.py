"""Panes, from the parts of deltas to windows."""
