"""What `moral-jax` can do: each module adds its commands to the parser, and imports what they need once they are asked
for: jax takes seconds."""
