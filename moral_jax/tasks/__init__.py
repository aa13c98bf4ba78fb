"""Reads vote data sets as examples, without tokenizer or JAX. The entry point is `registry.load`."""
