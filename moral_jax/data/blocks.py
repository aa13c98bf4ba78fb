"""Lists the keys that blocks of queries see, so that plain attention computes no others (`types.Tokens.keys_BJU`).

In a row of short questions a block of queries sees little of the row: what all questions begin with, what the block's
first question has before the block, and the block itself.
"""

from collections.abc import Sequence

import numpy as np

from moral_jax.data.measures import Measures
from moral_jax.types import Tokens

QUERIES = 64  # in a block
STEP = 32  # lists grow by so many keys, so that few programs are compiled
PAYS = 0.6  # they may be this share of the keys that attention computes without lists, as gathering costs something


def most_keys(measures: Sequence[Measures], length: int, is_encoder: bool) -> int:
    """Returns at least the most keys that a block of queries sees; 0 where it does not pay to list them.

    Args:
      measures: of all questions.
      length: tokens in a row.
      is_encoder: true if nothing is shared, and texts also see what they have behind a block.
    """
    longest = max(_longest(m, is_encoder) for m in measures)
    keys = -(-(QUERIES + longest * (2 if is_encoder else 1)) // STEP) * STEP
    usual = length if is_encoder else (length + 2 * QUERIES) / 2  # as attention computes them without lists
    return keys if length % QUERIES == 0 and keys <= PAYS * usual else 0


def _longest(m: Measures, is_encoder: bool) -> int:
    """Returns at least the tokens of the longest text: every other text of its entry has one that it does not share."""
    shared = 0 if is_encoder else len(m.shared_T)
    return int((m.lengths_E - (m.texts_E - 1) * (shared + 1)).max())


def list_keys(tokens: Tokens, is_encoder: bool) -> None:
    """Fills `tokens.keys_BJU` with what the blocks of each row see; queries of padding see nothing."""
    listed_BJU, segments_BT, ends_BT = tokens.keys_BJU, tokens.segments_BT, tokens.ends_BT
    assert listed_BJU is not None, "as a shape with keys has them"
    B, J, U = listed_BJU.shape
    of_block = segments_BT.reshape(B, J, -1)
    last_BJ1 = of_block.max(-1)[..., None]
    first_BJ1 = np.where(of_block > 0, of_block, np.iinfo(np.int32).max).min(-1)[..., None]
    # segments are numbered in row order, so that a block has all those from its first to its last
    seen_BJT = (segments_BT[:, None] > 0) & (segments_BT[:, None] <= last_BJ1) & (first_BJ1 < ends_BT[:, None])
    if not is_encoder:
        seen_BJT &= np.arange(segments_BT.shape[1]) < np.arange(1, J + 1)[:, None] * of_block.shape[-1]
    for b, j in np.ndindex(B, J):
        keys = np.flatnonzero(seen_BJT[b, j])
        assert len(keys) <= U, "most_keys counts them all"
        listed_BJU[b, j, : len(keys)] = keys
