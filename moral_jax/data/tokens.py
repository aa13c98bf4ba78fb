"""Text to token ids: the one place where a tokenizer is called."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from moral_jax.data import control
from moral_jax.runtime import panics
from moral_jax.types import UserError


class Text(NamedTuple):
    """Tokens that lie in a row without a break."""

    tokens_T: np.ndarray  # int32
    types_T: np.ndarray  # int32: 1 in the second text of a pair, else 0
    reads_T: np.ndarray | None = None  # bool: tokens whose probability is read; None where options are read


def encoding(tokenizer: PreTrainedTokenizerBase, parts: Sequence[str], has_specials: bool) -> Encoding:
    """Returns the tokens of a text or a pair, with the tokenizer's own around it unless the text has its specials.

    What lies between marks of `control` is tokenised by itself.
    """
    backend = tokenizer.backend_tokenizer

    def one(piece: str) -> Encoding:
        # a batch of one, as `encode` would not let other threads run
        [found] = backend.encode_batch([piece], add_special_tokens=False)
        return found

    try:
        with panics.as_errors():
            pieces = [[one(piece) for piece in part.split(control.CUT)] for part in parts]
            return backend.post_process(*map(Encoding.merge, pieces), add_special_tokens=not has_specials)
    except Exception as e:  # what the Rust code raises
        reason = " ".join(str(e).split())[:300]
        raise UserError(
            f"this tokenizer cannot read the text ({reason}); pass another with --config.model.tokenizer=FOLDER. "
            f"Text: {excerpt(parts[-1])}"
        ) from e


def tokens(
    tokenizer: PreTrainedTokenizerBase, parts: Sequence[str], has_specials: bool, reads_last: bool
) -> tuple[list[int], list[int]]:
    """Returns the token ids and types of a text or a pair.

    Where answers are read from the last token, it is the text's own: end tokens that a tokenizer adds
    (`add_eos_token`) are left off.
    """
    found = encoding(tokenizer, parts, has_specials)
    end, added = len(found.ids), found.special_tokens_mask
    while reads_last and end and added[end - 1]:
        end -= 1
    return found.ids[:end], found.type_ids[:end]


def excerpt(text: str) -> str:
    """Returns a text for a message, without its middle if it is long."""
    text = text.replace(control.CUT, "")
    return repr(text if len(text) <= 300 else text[:100] + " ... " + text[-180:])
