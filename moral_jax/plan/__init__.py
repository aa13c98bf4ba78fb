"""A pod without a pod: compiles the real programs for a TPU slice that is not here, and says what they need."""
