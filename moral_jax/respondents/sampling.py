"""Replies of a local model: prompts of rows, as text in and text out."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.config.sample import SampleConfig
from moral_jax.data.tokens import tokens
from moral_jax.inference import generate
from moral_jax.inference.sampler import Sampler
from moral_jax.models.spec import DecoderSpec
from moral_jax.prompts.written import Written
from moral_jax.respondents.encode import QuestionEncoder
from moral_jax.runtime import console
from moral_jax.types import Example, Params, UserError


class Sample(NamedTuple):
    """One reply to a row."""

    id: str  # of the row
    sample: int  # which of its replies
    prompt: str  # as the model reads it
    text: str
    reason: Literal["end", "stop", "length"]  # why it is over
    tokens: list[int]
    logp: list[float]  # of each token, nats, in the full distribution at the temperature (at 1 where it is 0)
    sampled_logp: list[float]  # of each token, nats, in the distribution that it was drawn from


class Asked(NamedTuple):
    """A prompt, and the tokens that end its reply."""

    text: str
    prompt: generate.Prompt
    ends: frozenset[int]


def _numbers(prompts: Sequence[Sequence[int]]) -> Iterator[int]:
    """Yields a number for each prompt: of its tokens alone, and of how many equal ones came before."""
    seen: Counter[bytes] = Counter()
    for ids in prompts:
        what = np.asarray(ids, np.int32).tobytes()
        number = hashlib.sha256(what + seen[what].to_bytes(4, "little")).digest()
        seen[what] += 1
        yield int.from_bytes(number[:4], "little")


def asked_of(encoder: QuestionEncoder, examples: Sequence[Example], max_tokens: int) -> list[Asked]:
    """Returns the prompts of rows, written as training writes them.

    Raises:
      UserError: the model writes no texts, or has no room for a prompt and its reply; names the row.
    """
    spec, tokenizer = encoder.files.model.spec, encoder.tokenizer
    if not isinstance(spec, DecoderSpec) or encoder.files.model.score_rows:
        raise UserError("only a decoder with a vocabulary writes texts; this model has a score head, or is an encoder")
    found = []
    for example in examples:
        r = encoder.render(example, (0,))
        assert isinstance(r, Written), "prompts are written as texts"
        spans = r.spans[0]
        first = next(i for i, span in enumerate(spans) if span.is_read)
        text = "".join(span.text for span in spans[:first])
        ids, _ = tokens(tokenizer, (text,), r.has_specials, r.reads_last)
        if not ids:
            raise UserError(f"{example.id}: its prompt has no token")
        if len(ids) + max_tokens > spec.max_positions:
            raise UserError(
                f"{example.id}: its prompt has {len(ids)} tokens, and {max_tokens} more are asked for, but the model "
                f"reads {spec.max_positions}; ask for fewer (--max-tokens, "
                f"config.rollout.sample.max_tokens) or shorten the prompt"
            )
        found.append((text, ids, _ends(tokenizer, spans[first].text, r)))
    numbers = _numbers([ids for _, ids, _ in found])
    return [Asked(text, generate.Prompt(ids, n), e) for (text, ids, e), n in zip(found, numbers, strict=True)]


def _ends(tokenizer: PreTrainedTokenizerBase, ended: str, r: Written) -> frozenset[int]:
    """Returns the tokens that end a reply: the tokenizer's end token, and what the chat template ends a turn with."""
    known = {tokenizer.eos_token_id}
    if r.ends_turns:
        ids, _ = tokens(tokenizer, (ended,), r.has_specials, r.reads_last)
        known |= {ids[-1]} & set(tokenizer.added_tokens_decoder)
    return frozenset(token for token in known if token is not None)


def _stopper(tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> generate.Stopper | None:
    """Returns what finds the first stop text in a reply: the tokens up to and with the one in which it is whole."""
    if not stops:
        return None

    def is_in(ids: np.ndarray) -> bool:
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return any(stop in text for stop in stops)

    def is_stopped(ids: np.ndarray) -> int | None:
        if not is_in(ids):
            return None
        low, high = 0, len(ids)  # the stop text is not in the first `low`, and is in the first `high`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_in(ids[:middle]) else (middle, high)
        return high

    return is_stopped


def _text(tokenizer: PreTrainedTokenizerBase, reply: generate.Reply, stops: Sequence[str]) -> str:
    """Returns what a reply says, without its end and from a stop text on."""
    text = str(tokenizer.decode(reply.tokens, skip_special_tokens=True))
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places and reply.reason == "stop" else text


def written(
    encoder: QuestionEncoder,
    params: Params,
    examples: Sequence[Example],
    asked: Sequence[Asked],
    how: SampleConfig,
    stops: Sequence[str] = (),
    sampler: Sampler | None = None,
    what: str = "writing",
) -> Iterator[tuple[int, list[Sample]]]:
    """Yields (place of a row, its replies) as they come to an end.

    Args:
      asked: the prompts of the examples.
      sampler: one that was used before, for the same numbers of samples and slots.
      what: names the work in the progress bar.

    Raises:
      Preempted: the work was told to end.
    """
    tokenizer = encoder.tokenizer
    ends = frozenset().union(*(a.ends for a in asked))
    found = generate.generate(
        params, encoder.files.model, [a.prompt for a in asked], how, ends, _stopper(tokenizer, stops), sampler
    )
    for place, replies in console.progress(found, total=len(asked), desc=what, unit="prompt", leave=None):
        id_, prompt = examples[place].id, asked[place].text
        said = [_text(tokenizer, r, stops) for r in replies]
        yield (
            place,
            [
                Sample(id_, n, prompt, text, r.reason, r.tokens.tolist(), r.logp.tolist(), r.sampled_logp.tolist())
                for n, (text, r) in enumerate(zip(said, replies, strict=True))
            ],
        )
