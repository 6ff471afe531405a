"""What we tell about ourselves: every Prometheus metric, declared once, and health."""
