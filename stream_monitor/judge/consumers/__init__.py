"""What follows a closed window: alerts, error impact, limits, volume, metrics and health."""
