"""How examples are fed: render (text), encode (token ids), pack (rows), pipeline (batches). numpy only, no jax."""
