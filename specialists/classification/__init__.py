"""Which disease? One published method per file."""
