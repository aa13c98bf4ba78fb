"""Flax Linen ports. The only room that imports flax.linen; others call `models.api`."""
