"""What the app publishes about itself: every Prometheus metric, declared once, and health."""
