"""Fuzzing of the readers; no part of the package or of its tests."""
