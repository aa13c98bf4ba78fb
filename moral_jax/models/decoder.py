"""One decoder for all families: Llama, Mistral, Qwen, Phi, Gemma, OLMo, SmolLM (`families`)."""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.attention import take_positions
from moral_jax.models.cache import Continued
from moral_jax.models.layers import Attention, LayerInputs, Mlp, normalisation, turns
from moral_jax.models.rope import Tables
from moral_jax.models.spec import ComputeOptions, DecoderSpec, LayerGroup
from moral_jax.models.stack import run_layers
from moral_jax.sharding import constrain
from moral_jax.types import Array, Tokens


class Block(nn.Module):
    """One layer. With `read_BA` it returns these positions only; all others contribute just keys and values."""

    spec: DecoderSpec
    compute: ComputeOptions

    @nn.compact
    def __call__(
        self,
        x_BTD: Array,
        layer: LayerInputs | None,
        tables: Tables | None,
        tokens: Tokens | Continued,
        read_BA: Array | None = None,
    ) -> tuple[Array, None]:
        s, mesh = self.spec, self.compute.mesh
        attention = Attention(s, self.compute, name="attention")
        mlp = Mlp(s.mlp_width, s.activation, s.gated, s.fused, s.mlp_bias, self.compute, name="mlp")

        def normed(x_BTD: Array, name: str, where: tuple[str, ...]) -> Array:
            return normalisation(s, name)(x_BTD) if s.norms in where else x_BTD

        def read(x_BTD: Array) -> Array:
            return x_BTD if read_BA is None else take_positions(x_BTD, read_BA)

        h_BTD = normed(x_BTD, "attention_norm", ("before", "both", "parallel"))
        attended_BTD = attention(h_BTD, layer, tables, tokens, read_BA)
        attended_BTD = normed(attended_BTD, "attention_out_norm", ("after", "both"))
        x_BTD = constrain(read(x_BTD) + attended_BTD, "BTD", mesh)
        h_BTD = read(h_BTD) if s.norms == "parallel" else normed(x_BTD, "mlp_norm", ("before", "both"))
        return constrain(x_BTD + normed(mlp(h_BTD), "mlp_out_norm", ("after", "both")), "BTD", mesh), None


class Decoder(nn.Module):
    """Maps token ids to the final hidden states at the read positions, [B, A, D].

    The output head is not part of it: `heads` applies the few rows of the head that are needed.
    """

    spec: DecoderSpec
    compute: ComputeOptions
    groups: tuple[LayerGroup, ...]

    @nn.compact
    def __call__(self, tokens: Tokens | Continued, read_BA: Array) -> Array:
        s, how = self.spec, self.compute
        embedding_VD = self.param("embedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if not s.tied_embeddings:
            self.param("unembedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if s.unembedding_bias:
            self.param("unembedding_bias", nn.initializers.zeros, (s.vocab,))
        x_BTD = jnp.take(embedding_VD, tokens.tokens_BT, axis=0) * s.embedding_scale
        x_BTD = constrain(x_BTD.astype(how.dtype), "BTD", how.mesh)
        inputs = turns(s, tokens.positions_BT), tokens
        x_BAD = run_layers(Block, s, how, self.groups, x_BTD, inputs, read_BA)
        return normalisation(s, "final_norm")(x_BAD)
