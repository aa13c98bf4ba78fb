"""Questions and their options as text. No tokenizer, no jax."""
