"""transformers' `generate` on the token ids of our side: a worker process of `generate.py`."""

import time

import torch
import transformers
import workers
from torch_side import DEVICE, VERSIONS, device_peak, finished

BATCH = 32


class Theirs:
    """A model in one precision, with one kind of cache and attention."""

    def __init__(self, weights: str, how: str):
        precision, self.cache, attention = how.split()
        read = transformers.AutoModelForCausalLM.from_pretrained
        self.model = read(weights, dtype=getattr(torch, precision), attn_implementation=attention).to(DEVICE).eval()
        # what a folder says of sampling would change the work
        self.model.generation_config = transformers.GenerationConfig(pad_token_id=0)
        self.about = {"versions": VERSIONS}

    @torch.inference_mode()
    def _batch(self, ids: list[list[int]], tokens: int, samples: int, greedy: bool) -> torch.Tensor:
        length = max(map(len, ids))
        ids_BT = torch.zeros(len(ids), length, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for b, x in enumerate(ids):
            ids_BT[b, length - len(x) :], mask_BT[b, length - len(x) :] = torch.tensor(x), 1
        more = {"cache_implementation": "static"} if self.cache == "static" else {}
        sampling = {} if greedy else {"do_sample": True, "top_k": 0, "num_return_sequences": samples}
        out = self.model.generate(
            input_ids=ids_BT.to(DEVICE),
            attention_mask=mask_BT.to(DEVICE),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            **sampling,
            **more,
        )
        return out[:, length:]

    def write(self, ids: list[list[int]], tokens: list[int], samples: int) -> float:
        """Seconds of writing so many tokens to each prompt: the longest first, in batches of like length."""
        began = time.perf_counter()
        order = sorted(range(len(ids)), key=lambda i: -tokens[i])
        for start in range(0, len(ids), BATCH):
            batch = order[start : start + BATCH]
            self._batch([ids[i] for i in batch], max(tokens[i] for i in batch), samples, greedy=False)
        finished()
        return time.perf_counter() - began

    def greedy(self, ids: list[list[int]], tokens: int) -> list[list[int]]:
        """Texts of the likeliest tokens."""
        return [self._batch([x], tokens, 1, greedy=True)[0].tolist() for x in ids]


if __name__ == "__main__":
    workers.serve({"generate": Theirs}, device_peak)
