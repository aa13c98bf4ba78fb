"""The same work in torch and transformers (+ PEFT), as a careful and as a naive user writes it: a worker process.

Started by `train_step.py` and `score.py`. Needs torch, transformers, accelerate and gguf; peft for LoRA. It reads the
token ids that our side wrote, so that all competitors see the same questions.
"""

import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
import workers
from torch_side import DEVICE, VERSIONS, device_peak

ABSENT = -1e30  # the logit of an option or a variant that does not exist; finite, so that gradients are too


class Question(NamedTuple):
    """An example in one order of its options."""

    tokens: list[int]
    options: list[list[int]]  # of each option, the ids that stand for it
    counts: list[float]


class Style(NamedTuple):
    """Where the careful and the naive user differ, besides precision."""

    arrange: Callable[[list[Question], int], list[list[int]]]  # -> places of the questions of each batch
    answer_logits: Callable[[Any, list[Question]], torch.Tensor]  # -> [B, V], what follows each prompt
    fused: bool  # the optimizer


def in_given_order(questions: list[Question], size: int) -> list[list[int]]:
    return [list(range(i, min(i + size, len(questions)))) for i in range(0, len(questions), size)]


def by_length(questions: list[Question], size: int) -> list[list[int]]:
    """Batches of like length, in a random order, as training wants them."""
    order = sorted(range(len(questions)), key=lambda i: -len(questions[i].tokens))
    batches = [[order[place] for place in batch] for batch in in_given_order(questions, size)]
    random.Random(0).shuffle(batches)
    return batches


def padded(batch: list[Question], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask, both [B, T]."""
    length = max(len(q.tokens) for q in batch)
    ids_BT = torch.zeros(len(batch), length, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for b, q in enumerate(batch):
        start = length - len(q.tokens) if left else 0
        ids_BT[b, start : start + len(q.tokens)] = torch.tensor(q.tokens)
        mask_BT[b, start : start + len(q.tokens)] = 1
    return ids_BT.to(DEVICE), mask_BT.to(DEVICE)


def careful_logits(model: Any, batch: list[Question]) -> torch.Tensor:
    """Padded on the left, so that all prompts end at one position, and logits are computed there only."""
    ids_BT, mask_BT = padded(batch, left=True)
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    out = model(input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, use_cache=False, logits_to_keep=1)
    return out.logits[:, -1]


def naive_logits(model: Any, batch: list[Question]) -> torch.Tensor:
    """Padded on the right, with all logits of all positions."""
    ids_BT, mask_BT = padded(batch, left=False)
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    return logits_BTV[torch.arange(len(batch)), mask_BT.sum(-1) - 1]


STYLES = {
    "careful": Style(by_length, careful_logits, fused=True),
    "naive": Style(in_given_order, naive_logits, fused=False),
}


def log_probabilities(logits_BV: torch.Tensor, batch: list[Question]) -> torch.Tensor:
    """Of each option, [B, C], relative to the options: an option's weight is the sum of its variants'."""
    C = max(len(q.options) for q in batch)
    W = max(len(ids) for q in batch for ids in q.options)
    ids_BCW = torch.full((len(batch), C, W), -1)
    for b, q in enumerate(batch):
        for c, ids in enumerate(q.options):
            ids_BCW[b, c, : len(ids)] = torch.tensor(ids)
    ids_BCW = ids_BCW.to(DEVICE)
    chosen_BCW = logits_BV.float().gather(1, ids_BCW.clamp(min=0).flatten(1)).view_as(ids_BCW)
    return chosen_BCW.masked_fill(ids_BCW < 0, ABSENT).logsumexp(-1).log_softmax(-1)


def soft_cross_entropy(logits_BV: torch.Tensor, batch: list[Question]) -> torch.Tensor:
    """- sum_k q_k log p_k with q the shares of the votes; the mean over the batch."""
    log_p_BC = log_probabilities(logits_BV, batch)
    q_BC = torch.zeros(log_p_BC.shape)
    for b, q in enumerate(batch):
        q_BC[b, : len(q.counts)] = torch.tensor(q.counts) / sum(q.counts)
    return -(q_BC.to(DEVICE) * log_p_BC).sum(-1).mean()


def with_lora(model: Any, rank: int, adapters: str | None) -> Any:
    """PEFT's LoRA on every linear layer: q, k, v, o, gate, up, down; fresh, or from its files."""
    import peft  # only full fine-tuning and scoring work without it

    if adapters:
        return peft.PeftModel.from_pretrained(model, adapters, is_trainable=True)
    return peft.get_peft_model(
        model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    )


class Competitor:
    """A loaded model and the questions; batches are arranged once."""

    def __init__(self, style: str, weights: str, questions: str, batch: int, precision: str):
        self.style = STYLES[style]
        self.precision = precision
        self.questions = [Question(**json.loads(line)) for line in Path(questions).read_text().splitlines()]
        self.batches = self.style.arrange(self.questions, batch)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            weights, dtype=torch.float32, attn_implementation="sdpa"
        )
        # SmolLM2 pads with the token that ends a turn, which our prompts hold: torch would give it no gradient
        self.model.get_input_embeddings().padding_idx = None
        self.model.to(DEVICE)
        self.about = {
            "settings": f"{len(self.batches)} batches of {batch}, {precision}",
            "versions": VERSIONS | {"python": platform.python_version()},
        }

    def autocast(self) -> torch.autocast:
        return torch.autocast(DEVICE, torch.bfloat16, enabled=self.precision == "bfloat16")

    def first(self) -> float:
        """Seconds of the first batch."""
        return self._timed(self.batches[:1])["seconds"]

    def piece(self) -> dict[str, float]:
        """One pass over the questions."""
        return self._timed(self.batches)

    def _timed(self, batches: list[list[int]]) -> dict[str, float]:
        began = time.perf_counter()
        self._run(batches)
        seconds = time.perf_counter() - began
        tokens = sum(len(self.questions[i].tokens) for batch in batches for i in batch)
        return {"seconds": seconds, "questions": sum(map(len, batches)), "tokens": tokens}


class Training(Competitor):
    """Fine-tuning with AdamW."""

    def __init__(self, optim: dict[str, float], lora_rank: int | None, adapters: str | None = None, **given: Any):
        super().__init__(**given)
        if lora_rank:
            self.model = with_lora(self.model, lora_rank, adapters)
        self.model.train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": optim["weight_decay"]},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.tx = torch.optim.AdamW(
            groups,
            lr=optim["lr"],
            betas=(optim["b1"], optim["b2"]),
            eps=optim["eps"],
            fused=self.style.fused,
        )

    def _step(self, batch: list[Question]) -> torch.Tensor:
        with self.autocast():
            logits_BV = self.style.answer_logits(self.model, batch)
        loss = soft_cross_entropy(logits_BV, batch)
        loss.backward()
        self.tx.step()
        self.tx.zero_grad()
        return loss.detach()

    def _run(self, batches: list[list[int]]) -> list[float]:
        return [self._step([self.questions[i] for i in batch]).item() for batch in batches]

    def losses(self, batches: list[list[int]]) -> list[float]:
        """The loss of each of these batches, one step each."""
        return self._run(batches)


class Scoring(Competitor):
    """Option probabilities of every question."""

    def _run(self, batches: list[list[int]]) -> dict[int, list[float]]:
        out = {}
        with torch.inference_mode(), self.autocast():  # around the loop: weights are cast once
            for places in batches:
                batch = [self.questions[i] for i in places]
                p_BC = log_probabilities(self.style.answer_logits(self.model, batch), batch).exp()
                out |= dict(zip(places, p_BC.tolist(), strict=True))
        return out

    def probabilities(self) -> list[list[float]]:
        """In the questions' order."""
        found = self._run(self.batches)
        return [found[i] for i in range(len(self.questions))]


class Conversion:
    """A GGUF file as a float32 folder, so that no competitor's memory or start holds the conversion."""

    def __init__(self, weights: str, folder: str):
        file = Path(weights)
        read = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        del read.config.quantization_config  # what is read is float32, but still counts as quantised: copy it
        model = transformers.AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        self.about = {}


if __name__ == "__main__":
    workers.serve({"train": Training, "score": Scoring, "convert": Conversion}, device_peak)
