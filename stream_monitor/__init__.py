"""Streaming drift detection on Kafka: events in; alerts, metrics and decisions out."""

__version__ = "0.1.0"
