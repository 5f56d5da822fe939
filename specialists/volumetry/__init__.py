"""How large, in a volume? One published method per file."""
