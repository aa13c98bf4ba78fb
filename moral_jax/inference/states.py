"""Hidden states: means over a text, and those at the answer position of every layer, which probes read."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax import sharding
from moral_jax.data import pack
from moral_jax.inference.score import Scorer, compiled
from moral_jax.models import api, heads
from moral_jax.models.read_out import layer_states, read_layer
from moral_jax.objectives.votes import log_probabilities
from moral_jax.runtime import console
from moral_jax.types import Array, Batch, Params, Tokens

MOST_TEXTS = 32  # in a packed row


def make_states(model: api.Model) -> Callable[[Params, Tokens, Array], Array]:
    """Returns the compiled backbone: parameters, packed rows and positions -> float32 states [B, T, D]."""
    module, mesh = api.module(model), model.compute.mesh

    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def states(params: Params, tokens: Tokens, positions_BT: Array) -> Array:
        variables = {"params": params[model.backbone], "adapters": {}}
        return jnp.asarray(module.apply(variables, tokens, positions_BT), "float32")

    return states


def packed_rows(ids: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], shape: tuple[int, int]) -> Tokens:
    """Returns rows of whole texts side by side, none of which sees another; `rows` holds indices of texts."""
    tokens, segments, ends, positions, types = (np.zeros(shape, np.int32) for _ in range(5))
    ends += 1
    for b, texts in enumerate(rows):
        start = 0
        for number, text in enumerate(texts, 1):
            part = slice(start, start + len(ids[text]))
            tokens[b, part], segments[b, part], ends[b, part] = ids[text], number, number + 1
            positions[b, part] = np.arange(len(ids[text]))
            start = part.stop
    return Tokens(tokens, segments, ends, positions, types)


def mean_states(
    model: api.Model, params: Params, ids: Sequence[Sequence[int]], length: int, rows: int, what: str
) -> np.ndarray:
    """Returns the mean of the last hidden states over the tokens of each text, float64 [E, D].

    Args:
      params: as `models.api.cast_for_scoring` returns them.
      ids: token ids of each text, at least one and none more than `length`.
      length: tokens in a packed row.
      rows: packed rows in a batch; every device gets as many.
      what: names the texts in the progress bar.
    """
    packed = pack.pack(np.array([(len(x), 1) for x in ids]), (length, MOST_TEXTS))
    states, mesh = make_states(model), model.compute.mesh
    everywhere = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    out = np.zeros((len(ids), model.spec.width))
    batches = pack.in_batches(packed, rows)
    for batch in console.progress(batches, total=len(batches), desc=f"reading {what}", unit="batch", leave=None):
        tokens = packed_rows(ids, batch, (rows, length))
        placed = jax.device_put((tokens, everywhere), sharding.of_batch(mesh, micro_batches=False))
        states_BTD = np.asarray(states(params, *placed), np.float64)
        for b, texts in enumerate(batch):
            for number, text in enumerate(texts, 1):
                out[text] = states_BTD[b][tokens.segments_BT[b] == number].mean(0)
    return out


class Layers(NamedTuple):
    """What is read of the layers of a model: L + 1 of them, the first of which is what the first layer reads."""

    states: Array  # [..., L + 1, D] float32: at the answer position; the mean where options are read at several
    log_shares: Array  # [..., L + 1, C] float32: log of the options' shares, if the layer were the last


def make_layer_scorer(model: api.Model) -> Scorer:
    """Returns the scorer that reads `Layers` of every question, [B, Q, ...]; batches hold `Options`."""

    def read(params: Params, model: api.Model, batch: Batch) -> Layers:
        where = batch.asks.read_of_option_BQC, batch.asks.option_ids_BQCW

        def of_layer(hidden_BAD: Array) -> tuple[Array, Array]:
            # the mean over a question's options, feature by feature
            mean = jax.vmap(lambda h_BA: heads.of_questions(h_BA, *where), in_axes=-1, out_axes=-1)
            logits_BQC = read_layer(params, model, batch, hidden_BAD).options().logits_BQC
            return mean(jnp.asarray(hidden_BAD, "float32")), log_probabilities(logits_BQC)

        states_LBQD, log_shares_LBQC = jax.lax.map(of_layer, layer_states(params, model, batch))
        return Layers(jnp.moveaxis(states_LBQD, 0, 2), jnp.moveaxis(log_shares_LBQC, 0, 2))

    return compiled(model, read)
