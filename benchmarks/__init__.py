"""Speed and memory, measured side by side; ratios within one run are what counts."""
