"""Fine-tune open language models on the distribution of human moral judgements, and measure how close they got."""

__version__ = "0.1.0"
