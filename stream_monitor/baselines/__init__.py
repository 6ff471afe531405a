"""What a measure was: pinned, first, and recent baselines, and the rows of features that are kept with them."""
