"""The pending rows of a partition: predictions, labels and signals that wait for each other."""
