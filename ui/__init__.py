"""The chat window: layout, wiring and rendering; it decides nothing that the Python API does not."""
