"""Measures that share a watermark: inputs, labels, feedback."""
