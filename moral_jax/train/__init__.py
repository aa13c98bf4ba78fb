"""Training: `optim`, `step`, `checkpoint`, and the one `loop`."""
