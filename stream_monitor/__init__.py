"""Streaming drift detection on Kafka: events in; alerts and metrics out."""

__version__ = "0.1.0"
