"""Which things, where, how many? One published method per file."""
