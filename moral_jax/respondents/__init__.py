"""Who answers questions: local weights, models behind an API, baselines, scripted rules. One contract, in `base`."""
