"""Compiles the real programs for a TPU slice that is not attached, and reports what they need."""
