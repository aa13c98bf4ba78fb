"""Prompts to token ids, and the ids that each answer begins with."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.prompts.render import Rendered, Scored
from moral_jax.types import Example, UserError

GAP = " [...] "
MIN_TEXT_TOKENS = 16


class Text(NamedTuple):
    """What lies in a row without a break."""

    tokens_T: np.ndarray  # int32
    types_T: np.ndarray  # int32: 1 in the second part of a pair, else 0


class Encoded(NamedTuple):
    """One question in one order. Its answer positions are the last tokens of its texts in a decoder, the first in an
    encoder."""

    texts: tuple[Text, ...]  # one for all options, or one for each
    # per shown option: the first token of each surface variant, no repeats; or a row of the score head
    option_ids: tuple[tuple[int, ...], ...]

    def text_of(self, option: int) -> int:
        """Which text an option is read from."""
        return option if len(self.texts) > 1 else 0

    @property
    def length(self) -> int:
        """Tokens of all texts."""
        return sum(len(text.tokens_T) for text in self.texts)


class Limits(NamedTuple):
    """The most tokens of a question."""

    row: int  # of all its texts in a packed row
    text: int  # of any of them: positions that the model has
    shares: bool  # whether what texts begin with in common is held once, as decoders allow


def common_length(tokens: Sequence[np.ndarray]) -> int:
    """Length of the longest beginning that all have in common, at least one token short of each."""
    texts = [t.tolist() for t in tokens]
    first, last, most = min(texts), max(texts), min(map(len, texts)) - 1
    return min(most, next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most))


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
            f"(config.prompt.answer_prefix) differently. Prompt: {_shown(prompt)}"
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


def _texts(tokenizer: PreTrainedTokenizerBase, r: Rendered | Scored) -> tuple[Text, ...]:
    out = []
    for parts in r.texts:
        # asked for, as a tokenizer that is not of a class of its own leaves types out
        words = tokenizer(*parts, add_special_tokens=not r.has_specials, return_token_type_ids=True)
        out.append(Text(*(np.asarray(words[name], np.int32) for name in ("input_ids", "token_type_ids"))))
    return tuple(out)


def encode(tokenizer: PreTrainedTokenizerBase, rendered: Rendered | Scored) -> Encoded:
    """Token ids of a question's texts, and what its options are read from.

    Raises:
      UserError: a doubled BOS, an answer that merges into the prompt or is empty, two options that begin alike.
    """
    texts = _texts(tokenizer, rendered)
    for text, parts in zip(texts, rendered.texts, strict=True):
        first = text.tokens_T[:2].tolist()
        if not first:
            raise UserError(f"the prompt has no tokens. Prompt: {_shown(parts[0])}")
        if len(first) == 2 and first[0] == first[1] == tokenizer.bos_token_id is not None:
            raise UserError(f"the prompt begins with two BOS tokens. Prompt: {_shown(parts[0])}")
    if isinstance(rendered, Scored):
        return Encoded(texts, tuple((row,) for row in rendered.rows))
    return Encoded(texts, _options(tokenizer, rendered, texts[0].tokens_T.tolist()))


def next_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, answers: tuple[str, ...]) -> tuple[int, ...]:
    """The token that each answer begins with after a prompt.

    Raises:
      UserError: as `encode`, for answers.
    """
    rendered = Rendered(prompt, tuple((answer,) for answer in answers), has_specials=False, answers_are_tokens=False)
    return tuple(token for [token] in encode(tokenizer, rendered).option_ids)


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, keep: int) -> str:
    """Keeps about `keep` tokens of a text: its beginning and its end."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    head, tail = (keep + 1) // 2, keep // 2
    return text[: offsets[head - 1][1]].rstrip() + GAP + text[offsets[len(offsets) - tail][0] :].lstrip()


def _excess(tokenizer: PreTrainedTokenizerBase, rendered: Rendered | Scored, limits: Limits) -> tuple[int, int]:
    """How many tokens of an example's text must go, at least; and how many tokens its texts have in a row."""
    tokens = [text.tokens_T for text in _texts(tokenizer, rendered)]
    lengths = [len(t) for t in tokens]
    saved = common_length(tokens) * (len(tokens) - 1) if limits.shares else 0
    in_row = sum(lengths) - saved
    copies = 1 if limits.shares else len(tokens)  # each text that is held has the example's own
    return max(-(-(in_row - limits.row) // copies), max(lengths) - limits.text), in_row


def fit(
    tokenizer: PreTrainedTokenizerBase, render: Callable[[Example], Rendered | Scored], example: Example, limits: Limits
) -> tuple[Encoded, bool]:
    """Encodes a question within limits, cutting its text, never its question or options, from the middle.

    Returns:
      The encoding, and whether the text was cut.

    Raises:
      UserError: question and options alone are too long; or as `encode`.
    """
    rendered = render(example)
    excess, in_row = _excess(tokenizer, rendered, limits)
    if excess <= 0:
        return encode(tokenizer, rendered), False
    total = len(_ids(tokenizer, [example.text], True)[0]) if example.text else 0
    keep = total - excess - 8  # the gap costs a few tokens too
    while keep >= MIN_TEXT_TOKENS:
        rendered = render(example._replace(text=_cut(tokenizer, example.text, keep)))
        excess, in_row = _excess(tokenizer, rendered, limits)
        if excess <= 0:
            return encode(tokenizer, rendered), True
        keep -= excess
    raise UserError(
        f"the prompt has {in_row} tokens, and without cutting the question no more than "
        f"config.data.length={limits.row} can be kept, or the model's {limits.text} positions. "
        f"Prompt: {_shown(rendered.texts[-1][-1])}"
    )
