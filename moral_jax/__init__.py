"""Fine-tune open language models on the distribution of human moral judgements, and measure how close they got."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported: nothing is reported
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is missing: it is not needed
__version__ = "0.1.0"
