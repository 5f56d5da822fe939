"""Teach the generalist."""
