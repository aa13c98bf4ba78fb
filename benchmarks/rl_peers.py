"""TRL's GRPO with transformers' generate on the prompts that our side wrote: a worker process of `rl_step.py`.

Needs trl 1.16, torch, transformers, gguf. Its trainer runs on a thread of its own and waits after every step, so that
both sides take turns. Replies go on to their full length, as on our side.
"""

import json
import threading
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
import workers
from datasets import Dataset
from torch_side import VERSIONS, device_peak, finished, precision_flags, tokenizer_at


class _Turns(transformers.TrainerCallback):
    """Lets one optimizer step go on at a time."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.go.acquire()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.done.release()


class Peer:
    """A trainer that waits."""

    def __init__(self, weights: str, gguf: str, prompts: str, how: dict[str, Any], optim: dict[str, float]):
        tokenizer = tokenizer_at(gguf)
        rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
        self.samples, self.most = how["prompts"] * how["n"], how["max_tokens"]
        micro = how["micro"]
        args = trl.GRPOConfig(
            output_dir="/tmp/rl_peers",
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=self.samples // micro,
            num_generations=how["n"],
            max_completion_length=self.most,
            temperature=1.0,
            beta=0.0,
            epsilon_high=0.28,
            loss_type="dapo",
            learning_rate=optim["lr"],
            weight_decay=0.0,
            adam_beta1=optim["b1"],
            adam_beta2=optim["b2"],
            adam_epsilon=optim["eps"],
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            max_steps=1000,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            **precision_flags(how["precision"]),
            gradient_checkpointing=False,
            disable_tqdm=True,
            generation_kwargs={"min_new_tokens": self.most, "top_k": 0},
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        self.turns, self.parts = _Turns(), {"writing": 0.0, "rest": 0.0}
        self.trainer = trl.GRPOTrainer(
            model,
            reward_funcs=lambda completions, **_: [float(len(set(turn["content"])) % 7) for [turn] in completions],
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[self.turns],
        )
        self._time_writing()
        self.thread: threading.Thread | None = None
        self.about = {
            "settings": f"micro-batches of {micro} replies, {how['precision']}",
            "versions": VERSIONS | {"trl": trl.__version__},
        }

    def _time_writing(self) -> None:
        real = self.trainer._generate

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            out = real(*given, **named)
            finished()
            self.parts["writing"] += time.perf_counter() - began
            return out

        self.trainer._generate = timed

    def first(self) -> float:
        """Seconds of the first step."""
        began = time.perf_counter()
        self.thread = threading.Thread(target=self.trainer.train, daemon=True)
        self.thread.start()
        self._step()
        return time.perf_counter() - began

    def _step(self) -> None:
        self.turns.go.release()
        while not self.turns.done.acquire(timeout=5):
            assert self.thread is not None and self.thread.is_alive(), "the trainer has ended"  # noqa: PT018

    def piece(self) -> dict[str, Any]:
        """One step: replies, rewards, update."""
        before, began = self.parts["writing"], time.perf_counter()
        self._step()
        finished()
        seconds = time.perf_counter() - began
        writing = self.parts["writing"] - before
        parts = {"writing": writing, "update": seconds - writing}
        return {"seconds": seconds, "questions": self.samples, "tokens": self.samples * self.most, "parts": parts}


if __name__ == "__main__":
    workers.serve({"train": Peer}, device_peak)
