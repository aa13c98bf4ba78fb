"""Random questions whose options are texts, made by the product's own packing, and an independent likelihood."""

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.config.train import DataConfig
from moral_jax.data import layout, pipeline
from moral_jax.data.encode import Encoded
from moral_jax.data.pack import in_batches
from moral_jax.data.tokens import Text
from moral_jax.models import read_out
from moral_jax.types import REFERENCE, Batch, Example

VOCAB = 97


def encoded(rng: np.random.Generator, options: int, prompt: int | None = None) -> Encoded:
    """Returns texts of different lengths that begin with one prompt; some of it is read too if there is one text.

    Args:
      prompt: its length; None: any of 2 to 8.
    """
    prompt = rng.integers(0, VOCAB, prompt or rng.integers(2, 9))
    out = []
    for _ in range(options):
        reply = rng.integers(0, VOCAB, rng.integers(1, 8))
        tokens = np.concatenate([prompt, reply]).astype(np.int32)
        reads = np.arange(len(tokens)) >= len(prompt)
        if options == 1:
            reads |= (rng.random(len(tokens)) < 0.3) & (np.arange(len(tokens)) > 0)
        out.append(Text(tokens, np.zeros_like(tokens), reads))
    return Encoded(tuple(out), ())


def questions(seed: int, count: int, options: int) -> layout.Questions:
    """Returns questions with votes, and with references where there are several texts."""
    rng = np.random.default_rng(seed)
    of_all = [encoded(rng, options) for _ in range(count)]
    texts = tuple("abc"[:options])
    examples = [
        Example(str(i), "", texts, tuple(rng.integers(0, 4, options) + np.eye(options)[0])) for i in range(count)
    ]
    items = [(i, tuple(range(options))) for i in range(count)]
    columns = {REFERENCE: rng.normal(-9, 2, (count, options)).astype(np.float32)} if options > 1 else {}
    return layout.Questions(examples, items, of_all, 0, is_encoder=False, columns=columns)


def batches(
    of: layout.Questions, rows: int, length: int, per_row: int | None = None, *, alone: bool = False, count: int = 0
) -> list[Batch]:
    """Returns all questions in batches of so many rows.

    Args:
      alone: each question lies in a row by itself, in batches of the same shape.
      count: fill up with empty batches until there are so many.
    """
    data = DataConfig(length=length, questions_per_row=per_row)
    shape = layout.shape_of([of], data, rows, rows)
    made = pipeline.scoring_batches(of, shape, range(rows), 1)
    if alone:
        made.plan = in_batches([[group] for batch in made.plan for row in batch for group in row], rows)
    return [made[i] for i in range(len(made))] + [layout.blank(rows, shape)] * (count - len(made))


def likelihood(params, model, text: Text) -> float:
    """Returns the log-probability of what is read of a text, by itself and over the whole vocabulary."""
    logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, jnp.asarray(text.tokens_T[None]))
    log_p = jax.nn.log_softmax(logits, axis=-1)[0]
    read = np.flatnonzero(text.reads_T)
    return float(sum(log_p[i - 1, text.tokens_T[i]] for i in read))
