"""One BERT-shaped encoder for BERT, MiniLM and RoBERTa (arXiv 1810.04805, 1907.11692).

There is no dropout, so that a run is a function of its config alone. Early stopping on validation rows guards against
overfitting.
"""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.attention import take_positions
from moral_jax.models.layers import Attention, LayerInputs, LayerNorm, Mlp
from moral_jax.models.spec import ComputeOptions, EncoderSpec, LayerGroup
from moral_jax.models.stack import run_layers
from moral_jax.sharding import constrain
from moral_jax.types import Array, Tokens


class Block(nn.Module):
    """One layer, normalised after each sum. With `read_BA` it returns these positions only; all others contribute just
    keys and values.
    """

    spec: EncoderSpec
    compute: ComputeOptions

    @nn.compact
    def __call__(
        self, x_BTD: Array, layer: LayerInputs | None, tokens: Tokens, read_BA: Array | None = None
    ) -> tuple[Array, None]:
        s, mesh = self.spec, self.compute.mesh
        attended_BTD = Attention(s, self.compute, name="attention")(x_BTD, layer, None, tokens, read_BA)
        x_BTD = x_BTD if read_BA is None else take_positions(x_BTD, read_BA)
        x_BTD = constrain(LayerNorm(s.norm_eps, name="attention_norm")(x_BTD + attended_BTD), "BTD", mesh)
        mlp = Mlp(s.mlp_width, "gelu", gated=False, fused=False, biased=True, compute=self.compute, name="mlp")
        x_BTD = x_BTD + mlp(x_BTD)
        return constrain(LayerNorm(s.norm_eps, name="mlp_norm")(x_BTD), "BTD", mesh), None


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
        assert tokens.types_BT is not None, "batches for encoders have types"
        # RoBERTa has one token type, also where its tokenizer gives the second text of a pair another
        x_BTD += embed("type_embedding", s.token_types, jnp.minimum(tokens.types_BT, s.token_types - 1))
        x_BTD += embed("position_embedding", s.first_position + s.max_positions, s.first_position + tokens.positions_BT)
        x_BTD = LayerNorm(s.norm_eps, name="embedding_norm")(x_BTD.astype(how.dtype))
        return run_layers(Block, s, how, self.groups, constrain(x_BTD, "BTD", how.mesh), (tokens,), read_BA)
