"""What the peers in torch share: the device, its memory, and how weights and tokenizers are found."""

import os
from pathlib import Path
from typing import Any

import torch
import transformers

torch.set_num_threads(len(os.sched_getaffinity(0)))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "device": DEVICE}


def device_peak() -> int:
    """Returns the most bytes that tensors ever took on the GPU; 0 without one."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def finished() -> None:
    """Waits for the GPU, so that a clock may be read."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def tokenizer_at(weights: str) -> Any:
    """Returns the tokenizer of a folder or of a GGUF file."""
    at = Path(weights)
    if at.is_dir():
        return transformers.AutoTokenizer.from_pretrained(weights)
    return transformers.AutoTokenizer.from_pretrained(str(at.parent), gguf_file=at.name)


def precision_flags(precision: str) -> dict[str, bool]:
    """Returns what a Trainer is told: weights are float32; in bfloat16 it computes products in that (autocast)."""
    return {"bf16": precision == "bfloat16", "use_cpu": DEVICE == "cpu"}
