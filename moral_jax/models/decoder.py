"""One decoder for all families: Llama, Mistral, Qwen, Phi, Gemma, OLMo, SmolLM (`families`)."""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.block import Block
from moral_jax.models.cache import Continued
from moral_jax.models.layers import normalisation, positions
from moral_jax.models.spec import ComputeOptions, DecoderSpec, LayerGroup
from moral_jax.models.stack import run_layers
from moral_jax.sharding import constrain
from moral_jax.types import Array, Tokens


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
        inputs = positions(s, tokens.positions_BT), tokens
        x_BAD = run_layers(self, Block, self.groups, x_BTD, inputs, read_BA)
        return normalisation(s, "final_norm")(x_BAD)
