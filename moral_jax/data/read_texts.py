"""Encodes texts that are read token by token: which of their tokens are read, and pieces of those that are too long."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.data.tokens import Text, excerpt, tokens
from moral_jax.prompts.written import Span, Written
from moral_jax.types import UserError


def read_text(tokenizer: PreTrainedTokenizerBase, spans: Sequence[Span], r: Written) -> Text:
    """Returns a text with the tokens that are read.

    Raises:
      UserError: a span ends inside a token, or no token can be read.
    """
    whole = "".join(span.text for span in spans)
    ids, types = tokens(tokenizer, (whole,), r.has_specials, r.reads_last)
    reads_T, at, start = np.zeros(len(ids), bool), 0, 0
    for i, span in enumerate(spans):
        at += len(span.text)
        end = len(ids) if i == len(spans) - 1 else _border(tokenizer, whole, at, ids, r)
        reads_T[start:end] = span.is_read
        start = end
        if r.ends_turns and span.is_read and end and ids[end - 1] not in tokenizer.added_tokens_decoder:
            raise UserError(
                f"the model's chat template ends a reply with {tokenizer.convert_ids_to_tokens(ids[end - 1])!r}, which "
                f"is no end token, so that the model would never learn to stop; correct the template, or use "
                f"--config.prompt.format=plain"
            )
    if r.adds_end:
        if tokenizer.eos_token_id is None:
            raise UserError("this tokenizer has no end token (eos_token), so that no text would ever end; add one")
        ids, types = [*ids, tokenizer.eos_token_id], [*types, 0]
        reads_T = np.append(reads_T, spans[-1].is_read)
    if len(reads_T):
        reads_T[0] = False  # nothing comes before it
    if not reads_T.any():
        raise UserError(f"no token of this text is read: its completion is empty. Text: {excerpt(whole)}")
    return Text(np.asarray(ids, np.int32), np.asarray(types, np.int32), reads_T)


def _border(tokenizer: PreTrainedTokenizerBase, whole: str, at: int, ids: list[int], r: Written) -> int:
    """Returns how many tokens lie before a place in a text."""
    before, _ = tokens(tokenizer, (whole[:at],), r.has_specials, r.reads_last)
    if ids[: len(before)] != before:
        raise UserError(
            f"the border between prompt and completion lies inside a token of this tokenizer: "
            f"{excerpt(whole[max(0, at - 40) : at])} | {excerpt(whole[at : at + 40])}; let the completion begin with "
            f"the blank, and the prompt end without one"
        )
    return len(before)


def pieces(text: Text, longest: int) -> list[Text]:
    """Cuts a text that is too long into pieces of at most `longest` tokens.

    Each begins with the token that the one before ends with, so that every token that is read is read in one piece.
    Pieces in which none is read are left out.
    """
    assert text.reads_T is not None, "only texts that are read are cut"
    out = []
    for start in range(0, max(1, len(text.tokens_T) - 1), longest - 1):
        part = slice(start, start + longest)
        reads_T = text.reads_T[part].copy()
        reads_T[0] = False
        if reads_T.any():
            out.append(Text(text.tokens_T[part], text.types_T[part], reads_T))
    return out
