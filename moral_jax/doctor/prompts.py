"""Shows whole prompts as a model reads them, before any run."""

from typing import Any

from moral_jax.config import Config
from moral_jax.respondents.encode import ModelFiles, QuestionEncoder
from moral_jax.tasks.load import Dataset


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
        if files.model.score_rows:
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
