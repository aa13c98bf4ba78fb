"""`moral-jax doctor`: what this machine and a config lack, found in seconds and not hours into a run."""
