"""Detection: compares windows and panes with their baselines and produces findings."""
