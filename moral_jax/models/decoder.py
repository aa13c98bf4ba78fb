"""One Llama-shaped decoder for Llama, Mistral, Zephyr and SmolLM2."""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.attention import take_positions
from moral_jax.models.cache import Continued
from moral_jax.models.layers import Attention, GatedMlp, RMSNorm, Rope, rope_tables
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
        self, x_BTD: Array, rope: Rope, tokens: Tokens | Continued, read_BA: Array | None = None
    ) -> tuple[Array, None]:
        s, mesh = self.spec, self.compute.mesh
        h_BTD = RMSNorm(s.norm_eps, name="attention_norm")(x_BTD)
        attended_BTD = Attention(s, self.compute, biased=False, name="attention")(h_BTD, rope, tokens, read_BA)
        x_BTD = x_BTD if read_BA is None else take_positions(x_BTD, read_BA)
        x_BTD = constrain(x_BTD + attended_BTD, "BTD", mesh)
        h_BTD = RMSNorm(s.norm_eps, name="mlp_norm")(x_BTD)
        return constrain(x_BTD + GatedMlp(s.mlp_width, self.compute, name="mlp")(h_BTD), "BTD", mesh), None


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
        x_BTD = constrain(jnp.take(embedding_VD, tokens.tokens_BT, axis=0).astype(how.dtype), "BTD", how.mesh)
        rope = rope_tables(s, tokens.positions_BT)
        x_BAD = run_layers(self, Block, self.groups, x_BTD, (rope, tokens), read_BA)
        return RMSNorm(s.norm_eps, name="final_norm")(x_BAD)
