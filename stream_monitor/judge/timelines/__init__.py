"""Timelines: the measures of a model that share a watermark (input, label, feedback, observation)."""
