"""Shows whole prompts as a model reads them, before any run."""

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.config import Config
from moral_jax.data.tokens import Text, excerpt
from moral_jax.respondents.encode import ModelFiles, QuestionEncoder
from moral_jax.tasks.load import Dataset


def _read(words: PreTrainedTokenizerBase, text: Text) -> str:
    """Returns the tokens of a text that are read, or learned: each stretch by itself, a long one without its middle."""
    assert text.reads_T is not None, "asked by the caller"
    starts = np.flatnonzero(np.diff(text.reads_T.astype(int)) != 0) + 1
    stretches = np.split(np.arange(len(text.tokens_T)), starts)
    return " and ".join(excerpt(str(words.decode(text.tokens_T[s]))) for s in stretches if text.reads_T[s[0]])


def first(config: Config, files: ModelFiles, data: Dataset, count: int = 3) -> list[dict[str, Any]]:
    """Returns the first prompts as the model reads them, and the tokens that each option is read from.

    Raises:
      UserError: a prompt cannot be encoded.
    """
    rows = [*data.test[:count], *data.validation[:count], *data.train[:count]][:count]
    encoder = QuestionEncoder(config, files)
    shown = []
    for row in rows:
        questions = encoder.for_scoring([row], "rows")
        one, words = questions.encoded[0], files.tokenizer
        if one.texts[0].reads_T is not None:
            read = [_read(words, text) for text in one.texts][: len(row.options)]
        elif files.model.score_rows:
            read = [f"row {ids[0]} of the score head" for ids in one.option_ids]
        else:
            read = [" or ".join(repr(words.decode([i])) for i in ids) for ids in one.option_ids]
        _, order = questions.items[0]
        shown.append({
            "id": row.id,
            "prompts": [words.decode(text.tokens_T.tolist()) for text in one.texts],
            "tokens": [len(text.tokens_T) for text in one.texts],
            "cut": questions.cut,  # of its prompts, one for each order of the options
            "options": {row.options[i]: name for i, name in zip(order, read, strict=True)},
        })  # fmt: skip
    return shown
