"""One Llama-shaped decoder for Llama, Mistral, Zephyr and SmolLM2."""

import flax.linen as nn
import jax.numpy as jnp

from moral_jax.models.attention import Places, at
from moral_jax.models.layers import Attention, GatedMlp, RMSNorm, Rope, rope_tables
from moral_jax.models.spec import DecoderSpec, Execution
from moral_jax.models.stack import through
from moral_jax.sharding import constrain
from moral_jax.types import Array


class Block(nn.Module):
    """A layer. With `answers_BA` it returns these positions alone, and of the others computes keys and values only."""

    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array, rope: Rope, places: Places, answers_BA: Array | None = None) -> tuple[Array, None]:
        s, mesh = self.spec, self.execution.mesh
        h_BTD = RMSNorm(s.norm_eps, name="attention_norm")(x_BTD)
        attended_BTD = Attention(s, self.execution, biased=False, name="attention")(h_BTD, rope, places, answers_BA)
        x_BTD = x_BTD if answers_BA is None else at(x_BTD, answers_BA)
        x_BTD = constrain(x_BTD + attended_BTD, "BTD", mesh)
        h_BTD = RMSNorm(s.norm_eps, name="mlp_norm")(x_BTD)
        return constrain(x_BTD + GatedMlp(s.mlp_width, self.execution, name="mlp")(h_BTD), "BTD", mesh), None


class Decoder(nn.Module):
    """Token ids to the final hidden states at the answer positions, [B, A, D]. The head is not in here: `heads`
    applies it to the few rows needed."""

    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, tokens_BT: Array, places: Places, answers_BA: Array) -> Array:
        s, how = self.spec, self.execution
        embedding_VD = self.param("embedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if not s.tied_embeddings:
            self.param("unembedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        x_BTD = constrain(jnp.take(embedding_VD, tokens_BT, axis=0).astype(how.dtype), "BTD", how.mesh)
        rope = rope_tables(s, places.positions_BT)
        x_BAD = through(Block, s, how, x_BTD, (rope, places), answers_BA)
        return RMSNorm(s.norm_eps, name="final_norm")(x_BAD)
