"""Figures of specialists on held-out images, beside simple yardsticks."""
