"""Models behind an OpenAI-compatible API: `prompts`, `replies`, `client`, `cost`, `run`. No jax."""
