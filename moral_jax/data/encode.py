"""Encodes prompts as token ids, and finds the ids that each option is read from.

With a vocabulary an option is the first token of its surface variants ("A", " A"). `_options` finds these tokens by
tokenising the prompt and each variant as one string, and refuses options that share one. With a score head an option is
a row of the head. `fit` encodes a question within the limits of a
packed row and of the model: while it is too long, it cuts the middle of the example's text, never the question or its
options, and renders again.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.data.read_texts import pieces, read_text
from moral_jax.data.tokens import Text, encoding, excerpt, tokens
from moral_jax.prompts.render import AnyRendered, Rendered, Scored
from moral_jax.prompts.written import Written
from moral_jax.types import Example, UserError

GAP = " [...] "
MIN_TEXT_TOKENS = 16


class TooLongError(UserError):
    """A question does not fit into a row, or into the model."""


class Encoded(NamedTuple):
    """One question in one order. Its read positions are the last tokens of its texts in a decoder, the first in an
    encoder.
    """

    texts: tuple[Text, ...]  # one for all options, or one for each
    # by option in the order shown: the first token of each surface variant, no repeats; or a row of the score head
    option_ids: tuple[tuple[int, ...], ...]

    @property
    def reads(self) -> int:
        """The number of positions that are read."""
        return sum(1 if text.reads_T is None else int(text.reads_T.sum()) for text in self.texts)

    @property
    def options(self) -> int:
        """The number of options."""
        return len(self.option_ids) or len(self.texts)

    def options_of(self, text: int) -> range:
        """Returns the options that are read from a text: its own, or all from the only one."""
        return range(text, text + 1) if len(self.texts) > 1 else range(len(self.option_ids))

    @property
    def length(self) -> int:
        """Number of tokens in all texts."""
        return sum(len(text.tokens_T) for text in self.texts)


class Limits(NamedTuple):
    """Limits of the number of tokens of a question."""

    row: int  # of all its texts together, in a packed row
    text: int  # of each text: the positions that the model has
    shares: bool  # True if a common prefix of the texts is stored once, as in decoders


def common_prefix(shared_T: np.ndarray | None, tokens_T: np.ndarray) -> np.ndarray:
    """Returns what another text begins with of what all before it began with, at least one token shorter than it.

    Args:
      shared_T: what all before it began with; None for the first text.
    """
    if shared_T is None:
        return tokens_T[:-1].copy()
    length = min(len(shared_T), len(tokens_T) - 1)
    differ = np.flatnonzero(shared_T[:length] != tokens_T[:length])
    return shared_T[: differ[0] if len(differ) else length]


def common_length(tokens: Sequence[np.ndarray]) -> int:
    """Returns the length of the longest common prefix, at least one token shorter than the shortest text."""
    return len(functools.reduce(common_prefix, tokens[1:], tokens[0][:-1]))


def _first_token(tokenizer: PreTrainedTokenizerBase, r: Rendered, prefix: list[int], variant: str) -> int:
    """Returns the token that follows the prompt if prompt and answer are tokenised as one string.

    This is the rule of lm-evaluation-harness. It has no meaning where the answer changes the prompt's own tokens.
    """
    ids, _ = tokens(tokenizer, (r.text + variant,), r.has_specials, r.reads_last)
    if ids[: len(prefix)] != prefix:
        raise UserError(
            f"the answer {variant!r} merges into the end of the prompt, so it has no token of its own; end the prompt "
            f"(config.prompt.answer_prefix) differently. Prompt: {excerpt(r.text)}"
        )
    if len(ids) == len(prefix):
        raise UserError(f"the answer {variant!r} adds no token to the prompt. Prompt: {excerpt(r.text)}")
    return ids[len(prefix)]


def _vocabulary_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Returns the id of a token; None if the vocabulary lacks it."""
    token_id = tokenizer.convert_tokens_to_ids(token)
    assert not isinstance(token_id, list), "the id of one token"
    return None if token_id is None or token_id == tokenizer.unk_token_id else token_id


def _options(tokenizer: PreTrainedTokenizerBase, r: Rendered, prefix: list[int]) -> tuple[tuple[int, ...], ...]:
    """Returns the ids of each option's variants, which no other option may have."""
    if r.answers_are_tokens:
        options = [[i for v in vs if (i := _vocabulary_id(tokenizer, v)) is not None] for vs in r.answers]
    else:
        options = [[_first_token(tokenizer, r, prefix, variant) for variant in variants] for variants in r.answers]
    if len(options) > 1:  # " 1" and " 2" may begin with the token of a blank, which tells nothing
        shared = set.intersection(*map(set, options))
        options = [[token for token in ids if token not in shared] or ids for ids in options]
    owner: dict[int, int] = {}
    for option, ids_of_option in enumerate(options):
        if not ids_of_option:
            raise UserError(f"none of the answers {r.answers[option]} is a token of this model's vocabulary")
        for token in ids_of_option:
            if owner.setdefault(token, option) != option:
                raise UserError(
                    f"the answers {r.answers[owner[token]]} and {r.answers[option]} share their first token "
                    f"{tokenizer.convert_ids_to_tokens(token)!r}; give options labels that differ at once. "
                    f"Prompt: {excerpt(r.text)}"
                )
    return tuple(tuple(dict.fromkeys(ids_of_option)) for ids_of_option in options)


def texts_of(tokenizer: PreTrainedTokenizerBase, r: AnyRendered) -> tuple[Text, ...]:
    """Returns the tokens of a question's texts; may run on any thread."""
    if isinstance(r, Written):
        return tuple(read_text(tokenizer, spans, r) for spans in r.spans)
    every = (tokens(tokenizer, parts, r.has_specials, r.reads_last) for parts in r.texts)
    return tuple(Text(np.asarray(ids, np.int32), np.asarray(types, np.int32)) for ids, types in every)


def encode(tokenizer: PreTrainedTokenizerBase, rendered: AnyRendered) -> Encoded:
    """Returns the token ids of a question's texts, and the ids that its options are read from.

    Raises:
      UserError: a doubled BOS, an answer that merges into the prompt or is empty, two options that begin alike.
    """
    return _encoded(tokenizer, rendered, texts_of(tokenizer, rendered))


def _encoded(tokenizer: PreTrainedTokenizerBase, rendered: AnyRendered, texts: tuple[Text, ...]) -> Encoded:
    """Returns the encoding around the texts' tokens; raises as `encode`."""
    for text, parts in zip(texts, rendered.texts, strict=True):
        first = text.tokens_T[:2].tolist()
        if not first:
            raise UserError(f"the prompt has no tokens. Prompt: {excerpt(parts[0])}")
        if len(first) == 2 and first[0] == first[1] == tokenizer.bos_token_id is not None:
            raise UserError(f"the prompt begins with two BOS tokens. Prompt: {excerpt(parts[0])}")
    if isinstance(rendered, Written):
        return Encoded(texts, ())
    if isinstance(rendered, Scored):
        return Encoded(texts, tuple((row,) for row in rendered.rows))
    return Encoded(texts, _options(tokenizer, rendered, texts[0].tokens_T.tolist()))


def next_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, answers: tuple[str, ...]) -> tuple[int, ...]:
    """Returns the token that each answer begins with after a prompt.

    Raises:
      UserError: an answer that merges into the prompt or is empty, two answers that begin alike.
    """
    rendered = Rendered(prompt, tuple((answer,) for answer in answers), has_specials=False, answers_are_tokens=False)
    return tuple(token for [token] in encode(tokenizer, rendered).option_ids)


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, keep: int) -> str:
    """Returns the beginning and the end of a text, together about `keep` tokens."""
    offsets = encoding(tokenizer, (text,), True).offsets
    head, tail = (keep + 1) // 2, keep // 2
    return text[: offsets[head - 1][1]].rstrip() + GAP + text[offsets[len(offsets) - tail][0] :].lstrip()


def _excess(texts: tuple[Text, ...], limits: Limits) -> tuple[int, int]:
    """Returns the least number of tokens to cut from an example's text, and the tokens of the question in a row."""
    tokens = [text.tokens_T for text in texts]
    lengths = [len(t) for t in tokens]
    saved = common_length(tokens) * (len(tokens) - 1) if limits.shares else 0
    in_row = sum(lengths) - saved
    copies = 1 if limits.shares else len(tokens)  # each text that is stored contains the example's text
    return max(-(-(in_row - limits.row) // copies), max(lengths) - limits.text), in_row


def fit(
    tokenizer: PreTrainedTokenizerBase,
    render: Callable[[Example], AnyRendered],
    example: Example,
    limits: Limits,
    begun: tuple[AnyRendered, tuple[Text, ...]] | None = None,
) -> tuple[list[Encoded], bool]:
    """Encodes a question within limits. If it is too long, the middle of its text is cut, never the question or its
    options; a single text that is read token by token is cut into pieces, of which none is lost.

    Args:
      begun: the example rendered, and the tokens of its texts, where they are known.

    Returns:
      The encodings, of which only a text in pieces has several, and whether anything was cut.

    Raises:
      UserError: the question and its options alone are too long; or as `encode`.
    """
    rendered = begun[0] if begun else render(example)
    texts = begun[1] if begun else texts_of(tokenizer, rendered)
    excess, in_row = _excess(texts, limits)
    if excess <= 0:
        return [_encoded(tokenizer, rendered, texts)], False
    if isinstance(rendered, Written) and len(texts) == 1:
        [text] = _encoded(tokenizer, rendered, texts).texts
        return [Encoded((piece,), ()) for piece in pieces(text, min(limits.row, limits.text))], True
    total = len(encoding(tokenizer, (example.text,), True).ids) if example.text else 0
    keep = total - excess - 8  # the gap needs a few tokens too
    while keep >= MIN_TEXT_TOKENS:
        rendered = render(example._replace(text=_cut(tokenizer, example.text, keep)))
        texts = texts_of(tokenizer, rendered)
        excess, in_row = _excess(texts, limits)
        if excess <= 0:
            return [_encoded(tokenizer, rendered, texts)], True
        keep -= excess
    drop = ", or leave such rows out (--config.task.on_bad_row=drop)" if isinstance(rendered, Written) else ""
    raise TooLongError(
        f"the prompt has {in_row} tokens, more than config.data.length={limits.row} or the model's {limits.text} "
        f"positions allow without cutting the question or its options; raise config.data.length, shorten them{drop}. "
        f"Prompt: {excerpt(rendered.texts[-1][-1])}"
    )
