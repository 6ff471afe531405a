"""Panes: parts of deltas wait in open panes; closed panes are merged into windows."""
