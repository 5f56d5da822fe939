"""Tests, one folder a package; `fakes` holds what several of them share."""
