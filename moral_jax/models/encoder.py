"""One encoder for BERT, MiniLM and RoBERTa (arXiv 1810.04805, 1907.11692), ModernBERT (2412.13663) and DeBERTa-v3
(2111.09543).

There is no dropout, so that a run is a function of its config alone. Early stopping on validation rows guards against
overfitting.
"""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.block import Block
from moral_jax.models.layers import normalisation, positions
from moral_jax.models.spec import ComputeOptions, EncoderSpec, LayerGroup
from moral_jax.models.stack import run_layers
from moral_jax.sharding import constrain
from moral_jax.types import Array, Tokens


class Encoder(nn.Module):
    """Maps token ids to the final hidden states at the read positions, [B, A, D].

    Positions are counted within each text. The pooler and the output head are not part of it: `heads` has them.
    """

    spec: EncoderSpec
    compute: ComputeOptions
    groups: tuple[LayerGroup, ...]

    @nn.compact
    def __call__(self, tokens: Tokens, read_BA: Array) -> Array:
        s, how = self.spec, self.compute

        def embed(name: str, rows: int, ids_BT: Array) -> Array:
            table = self.param(name, nn.initializers.normal(0.02), (rows, s.width))
            return jnp.take(table, ids_BT, axis=0)

        x_BTD = embed("embedding", s.vocab, tokens.tokens_BT)
        if s.token_types:
            assert tokens.types_BT is not None, "batches for encoders have types"
            # RoBERTa has one token type, also where its tokenizer gives the second text of a pair another
            x_BTD += embed("type_embedding", s.token_types, jnp.minimum(tokens.types_BT, s.token_types - 1))
        if s.learned_positions:
            rows = s.first_position + s.max_positions
            x_BTD += embed("position_embedding", rows, s.first_position + tokens.positions_BT)
        x_BTD = constrain(normalisation(s, "embedding_norm")(x_BTD.astype(how.dtype)), "BTD", how.mesh)
        distances_RD = None
        if s.distances:
            rows = 2 * s.distances.buckets
            distances_RD = normalisation(s, "relative_norm")(embed("relative_embedding", rows, jnp.arange(rows)))
            distances_RD = distances_RD.astype(how.dtype)
        inputs = positions(s, tokens.positions_BT, distances_RD), tokens
        x_BAD = run_layers(self, Block, self.groups, x_BTD, inputs, read_BA)
        return normalisation(s, "final_norm")(x_BAD) if s.norms == "before" else x_BAD
