"""Segmentation: where exactly? One published method per file."""
