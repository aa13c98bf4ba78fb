"""Flax Linen ports of the models. Only this package imports flax.linen; others call `models.api` and `read_out`."""
