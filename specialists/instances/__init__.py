"""Each one apart, and how many? One published method per file."""
