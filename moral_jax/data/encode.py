"""Prompts to token ids, and the ids that each answer begins with."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.data.render import Rendered
from moral_jax.types import Example, UserError

GAP = " [...] "
MIN_TEXT_TOKENS = 16


class Encoded(NamedTuple):
    """One question in one order."""

    tokens_T: np.ndarray  # int32; the last one is the answer position
    option_ids: tuple[tuple[int, ...], ...]  # per shown option: first token of each surface variant, no repeats


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], has_specials: bool) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=not has_specials, return_attention_mask=False)["input_ids"]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:100] + " ... " + text[-180:])


def _first_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: str, prefix: list[int], variant: str, ids: list[int]
) -> int:
    """The token that follows the prompt when prompt and answer are tokenised as one string.

    This is lm-evaluation-harness' rule; where the answer changes the prompt's own tokens it has no meaning.
    """
    if ids[: len(prefix)] != prefix:
        raise UserError(
            f"the answer {variant!r} merges into the end of the prompt, so it has no token of its own; end the prompt "
            f"(config.prompt.cue) differently. Prompt: {_shown(prompt)}"
        )
    if len(ids) == len(prefix):
        raise UserError(f"the answer {variant!r} adds no token to the prompt. Prompt: {_shown(prompt)}")
    return ids[len(prefix)]


def _vocabulary_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    found = tokenizer.convert_tokens_to_ids(token)
    return None if found is None or found == tokenizer.unk_token_id else found


def _options(tokenizer: PreTrainedTokenizerBase, r: Rendered, prefix: list[int]) -> tuple[tuple[int, ...], ...]:
    if r.answers_are_tokens:
        options = [[_vocabulary_id(tokenizer, v) for v in variants] for variants in r.answers]
        options = [[i for i in ids if i is not None] for ids in options]
    else:
        flat = [v for variants in r.answers for v in variants]
        ids = iter(_ids(tokenizer, [r.text + v for v in flat], r.has_specials))
        options = [[_first_tokens(tokenizer, r.text, prefix, v, next(ids)) for v in vs] for vs in r.answers]
    owner: dict[int, int] = {}
    for option, ids_of_option in enumerate(options):
        if not ids_of_option:
            raise UserError(f"none of the answers {r.answers[option]} is a token of this model's vocabulary")
        for token in ids_of_option:
            if owner.setdefault(token, option) != option:
                raise UserError(
                    f"the answers {r.answers[owner[token]]} and {r.answers[option]} share their first token "
                    f"{tokenizer.convert_ids_to_tokens(token)!r}; give options labels that differ at once. "
                    f"Prompt: {_shown(r.text)}"
                )
    return tuple(tuple(dict.fromkeys(ids_of_option)) for ids_of_option in options)


def encode(tokenizer: PreTrainedTokenizerBase, rendered: Rendered) -> Encoded:
    """Token ids of a prompt and of the answers after it.

    Raises:
      UserError: a doubled BOS, an answer that merges into the prompt or is empty, two options that begin alike.
    """
    [prefix] = _ids(tokenizer, [rendered.text], rendered.has_specials)
    if len(prefix) >= 2 and prefix[0] == prefix[1] == tokenizer.bos_token_id is not None:
        raise UserError(f"the prompt begins with two BOS tokens. Prompt: {_shown(rendered.text)}")
    if not prefix:
        raise UserError(f"the prompt has no tokens. Prompt: {_shown(rendered.text)}")
    return Encoded(np.asarray(prefix, np.int32), _options(tokenizer, rendered, prefix))


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, keep: int) -> str:
    """Keeps about `keep` tokens of a text: its beginning and its end."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    head, tail = (keep + 1) // 2, keep // 2
    return text[: offsets[head - 1][1]].rstrip() + GAP + text[offsets[len(offsets) - tail][0] :].lstrip()


def fit(
    tokenizer: PreTrainedTokenizerBase, render: Callable[[Example], Rendered], example: Example, limit: int
) -> tuple[Encoded, bool]:
    """Encodes a question within `limit` tokens, cutting its text, never its question or options, from the middle.

    Returns:
      The encoding, and whether the text was cut.

    Raises:
      UserError: question and options alone are too long; or as `encode`.
    """
    rendered = render(example)
    [ids] = _ids(tokenizer, [rendered.text], rendered.has_specials)
    if len(ids) <= limit:
        return encode(tokenizer, rendered), False
    total = len(_ids(tokenizer, [example.text], True)[0]) if example.text else 0
    keep = total - (len(ids) - limit) - 8  # the gap costs a few tokens too
    while keep >= MIN_TEXT_TOKENS:
        rendered = render(example._replace(text=_cut(tokenizer, example.text, keep)))
        [ids] = _ids(tokenizer, [rendered.text], rendered.has_specials)
        if len(ids) <= limit:
            return encode(tokenizer, rendered), True
        keep -= len(ids) - limit
    raise UserError(
        f"the prompt has {len(ids)} tokens, and without cutting the question no more than "
        f"config.data.length={limit} can be kept. Prompt: {_shown(rendered.text)}"
    )
