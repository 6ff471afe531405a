"""The predictions of a partition that wait for their labels and feedback."""
