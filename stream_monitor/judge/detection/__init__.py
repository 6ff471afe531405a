"""Windows and panes against their baselines: findings."""
