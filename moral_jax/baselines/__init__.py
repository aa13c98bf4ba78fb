"""Predictors that understand nothing: `simple` (priors, lengths), `text` (words counted), `registry`, `run`. No jax."""
