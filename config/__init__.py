"""Settings: typed, bounded, documented, read once at the start."""
