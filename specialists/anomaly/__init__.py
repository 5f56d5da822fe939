"""Is anything abnormal here? One published method per file."""
