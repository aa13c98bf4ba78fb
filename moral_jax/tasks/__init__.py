"""Vote data sets as examples. No tokenizer and no jax here; `registry.load` is the door."""
