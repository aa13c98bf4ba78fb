"""How close a model came: `score` (probabilities), `records` (one per example), `metrics`, `ceiling`, `run`."""
