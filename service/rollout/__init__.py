"""Checkpoints from a volume: seen, verified, judged and served while the service runs."""
