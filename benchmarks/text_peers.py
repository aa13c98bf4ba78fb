"""TRL's own trainers on the token ids that our side wrote: a worker process of `text_step.py`.

Needs trl 1.16, torch, transformers, gguf. References are precomputed, as on our side. What is timed is `Trainer.train`
over one epoch; the optimizer is torch's AdamW at a constant rate.
"""

import gc
import json
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
import workers
from datasets import Dataset
from torch_side import VERSIONS, device_peak, finished, precision_flags, tokenizer_at


class Rows(trl.DPOTrainer):
    """A trainer whose rows are token ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _Losses(transformers.TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


class Peer:
    """A model and its rows."""

    def __init__(
        self,
        weights: str,
        gguf: str,
        rows: str,
        method: str,
        batch: int,
        precision: str,
        optim: dict[str, float],
        beta: float,
    ):
        self.tokenizer = tokenizer_at(gguf)
        self.precision = precision
        self.make = lambda: transformers.AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        self.rows = [json.loads(line) for line in Path(rows).read_text().splitlines()]
        self.method, self.batch, self.optim, self.beta = method, batch, optim, beta
        self.about = {
            "settings": f"batches of {batch}, {precision}",
            "versions": VERSIONS | {"trl": trl.__version__},
        }
        self.trainer: Any = None

    def _dataset(self, rows: list[dict[str, Any]]) -> Dataset:
        if self.method == "sft":
            ids = [row["texts"][0] for row in rows]
            labels = [
                [t if is_read else -100 for t, is_read in zip(row["texts"][0], row["reads"][0], strict=True)]
                for row in rows
            ]
            return Dataset.from_dict({"input_ids": ids, "labels": labels})
        starts = [row["reads"][0].index(True) for row in rows]
        return Dataset.from_dict(
            {
                "prompt_ids": [row["texts"][0][:n] for row, n in zip(rows, starts, strict=True)],
                "chosen_ids": [row["texts"][0][n:] for row, n in zip(rows, starts, strict=True)],
                "rejected_ids": [row["texts"][1][n:] for row, n in zip(rows, starts, strict=True)],
            }
        )

    def _trainer(self, rows: list[dict[str, Any]], shuffle: bool) -> Any:
        settings = {
            "output_dir": "/tmp/text_peers",
            "per_device_train_batch_size": self.batch,
            "num_train_epochs": 1,
            "learning_rate": self.optim["lr"],
            "weight_decay": 0.0,
            "adam_beta1": self.optim["b1"],
            "adam_beta2": self.optim["b2"],
            "adam_epsilon": self.optim["eps"],
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "report_to": [],
            "save_strategy": "no",
            **precision_flags(self.precision),
            "gradient_checkpointing": False,
            "max_length": None,
            "disable_tqdm": True,
            "dataloader_drop_last": False,
            "shuffle_dataset": shuffle,
        }
        kinds = (trl.SFTConfig, trl.SFTTrainer) if self.method == "sft" else (trl.DPOConfig, Rows)
        if self.method == "sft":
            settings |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "packing": False}
        else:
            settings |= {"beta": self.beta, "precompute_ref_log_probs": True}
        known = {f.name for f in __import__("dataclasses").fields(kinds[0])}
        args = kinds[0](**{name: value for name, value in settings.items() if name in known})
        trainer = kinds[1](self.make(), args=args, train_dataset=self._dataset(rows), processing_class=self.tokenizer)
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
        self.seen = _Losses()
        trainer.add_callback(self.seen)
        return trainer

    def first(self) -> float:
        """Seconds of the first batch; references are computed before."""
        began = time.perf_counter()
        self._trainer(self.rows[: self.batch], shuffle=False).train()
        gc.collect()  # its weights and moments are no part of what training holds
        self.trainer = self._trainer(self.rows, shuffle=False)
        self.trainer.get_train_dataloader()  # computes references, which are not timed on either side
        return time.perf_counter() - began

    def piece(self) -> dict[str, float]:
        """One epoch."""
        began = time.perf_counter()
        self.trainer.train()
        finished()
        tokens = sum(len(text) for row in self.rows for text in row["texts"])
        return {"seconds": time.perf_counter() - began, "questions": len(self.rows), "tokens": tokens}

    def losses(self, batches: list[list[int]]) -> list[float]:
        """Losses of one step for each batch of rows."""
        rows = [self.rows[i] for batch in batches for i in batch]
        trainer = self._trainer(rows, shuffle=False)
        sizes = {len(batch) for batch in batches}
        assert sizes == {self.batch}, f"equal steps need batches of {self.batch}: {sizes}"
        trainer.train()
        return self.seen.losses


if __name__ == "__main__":
    workers.serve({"train": Peer}, device_peak)
