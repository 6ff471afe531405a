"""The judge: closes panes in event time, compares windows with baselines, and turns findings into alerts. Pure."""
