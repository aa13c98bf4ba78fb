"""Models behind an OpenAI-compatible API. No jax."""
