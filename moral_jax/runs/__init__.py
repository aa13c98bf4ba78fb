"""A run on disk: its directory, records and log. No jax."""
