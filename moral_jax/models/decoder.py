"""One Llama-shaped decoder for Llama, Mistral, Zephyr and SmolLM2."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models.attention import causal_attention
from moral_jax.models.layers import GatedMlp, Linear, RMSNorm, apply_rope, rope_tables
from moral_jax.models.spec import DecoderSpec
from moral_jax.types import Array

REMAT_POLICIES = ("none", "dots", "full")


class Attention(nn.Module):
    spec: DecoderSpec

    @nn.compact
    def __call__(self, x_BTD: Array, cos: Array, sin: Array, places: tuple[Array, ...]) -> Array:
        s = self.spec
        heads = (*x_BTD.shape[:2], -1, s.head_size)
        q_BTNH = Linear(s.heads * s.head_size, name="query")(x_BTD).reshape(heads)
        k_BTKH = Linear(s.kv_heads * s.head_size, name="key")(x_BTD).reshape(heads)
        v_BTKH = Linear(s.kv_heads * s.head_size, name="value")(x_BTD).reshape(heads)
        q_BTNH, k_BTKH = apply_rope(q_BTNH, cos, sin), apply_rope(k_BTKH, cos, sin)
        out_BTNH = causal_attention(q_BTNH, k_BTKH, v_BTKH, *places, window=s.sliding_window)
        return Linear(s.width, name="out")(out_BTNH.reshape(*x_BTD.shape[:2], -1))


class Block(nn.Module):
    spec: DecoderSpec

    @nn.compact
    def __call__(self, x_BTD: Array, cos: Array, sin: Array, places: tuple[Array, ...]) -> tuple[Array, None]:
        s = self.spec
        h_BTD = RMSNorm(s.norm_eps, name="attention_norm")(x_BTD)
        x_BTD = x_BTD + Attention(s, name="attention")(h_BTD, cos, sin, places)
        h_BTD = RMSNorm(s.norm_eps, name="mlp_norm")(x_BTD)
        return x_BTD + GatedMlp(s.mlp_width, name="mlp")(h_BTD), None


def _remat(policy: str) -> type[nn.Module]:
    if policy == "none":
        return Block
    save = {"dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "full": None}[policy]
    # prevent_cse guards against XLA undoing the recomputation; inside a scan the loop body already does
    return nn.remat(Block, policy=save, prevent_cse=False)


class Decoder(nn.Module):
    """Token ids to the last hidden state. The head is not in here: `heads` applies it to the few rows needed."""

    spec: DecoderSpec
    dtype: str = "float32"
    remat: str = "none"
    unroll: int = 1

    @nn.compact
    def __call__(self, tokens_BT: Array, segments_BT: Array, ends_BT: Array, positions_BT: Array) -> Array:
        s = self.spec
        embedding_VD = self.param("embedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if not s.tied_embeddings:
            self.param("unembedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        x_BTD = jnp.take(embedding_VD, tokens_BT, axis=0).astype(self.dtype)
        cos, sin = rope_tables(s, positions_BT)
        layers = nn.scan(
            _remat(self.remat),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=s.layers,
            unroll=min(self.unroll, s.layers),
        )
        x_BTD, _ = layers(s, name="layers")(x_BTD, cos, sin, (segments_BT, ends_BT, positions_BT))
        return RMSNorm(s.norm_eps, name="final_norm")(x_BTD)
