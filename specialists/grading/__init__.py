"""How far along an ordered scale? One published method per file."""
