"""Predictors that do not read the text, or only count its words. No jax."""
