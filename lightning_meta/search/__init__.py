"""Population search over configurations with Ray Tune (the extra `search`)."""
