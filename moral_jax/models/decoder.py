"""One Llama-shaped decoder for Llama, Mistral, Zephyr and SmolLM2."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models.attention import ATTENTION, SAVED
from moral_jax.models.layers import GatedMlp, Linear, RMSNorm, apply_rope, rope_tables
from moral_jax.models.spec import DecoderSpec, Execution
from moral_jax.sharding import constrain
from moral_jax.types import Array


class Attention(nn.Module):
    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array, cos: Array, sin: Array, places: tuple[Array, ...]) -> Array:
        s, mesh = self.spec, self.execution.mesh

        def project(heads: int, name: str) -> Array:
            y = Linear(heads * s.head_size, name=name)(x_BTD)
            return constrain(y.reshape(*x_BTD.shape[:2], heads, s.head_size), "BTNH", mesh)

        q_BTNH, k_BTKH = project(s.heads, "query"), project(s.kv_heads, "key")
        v_BTKH = project(s.kv_heads, "value")
        q_BTNH, k_BTKH = apply_rope(q_BTNH, cos, sin), apply_rope(k_BTKH, cos, sin)
        attend = ATTENTION[self.execution.attention]
        out_BTNH = attend(q_BTNH, k_BTKH, v_BTKH, *places, window=s.sliding_window, mesh=mesh)
        return Linear(s.width, name="out")(out_BTNH.reshape(*x_BTD.shape[:2], -1))


class Block(nn.Module):
    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array, cos: Array, sin: Array, places: tuple[Array, ...]) -> tuple[Array, None]:
        s, mesh = self.spec, self.execution.mesh
        h_BTD = RMSNorm(s.norm_eps, name="attention_norm")(x_BTD)
        x_BTD = constrain(x_BTD + Attention(s, self.execution, name="attention")(h_BTD, cos, sin, places), "BTD", mesh)
        h_BTD = RMSNorm(s.norm_eps, name="mlp_norm")(x_BTD)
        return constrain(x_BTD + GatedMlp(s.mlp_width, mesh, name="mlp")(h_BTD), "BTD", mesh), None


REMAT = {  # what the forward pass keeps for the backward pass: name -> checkpoint policy
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, jax.checkpoint_policies.save_only_these_names(SAVED)
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def _remat(policy: str) -> type[nn.Module]:
    if policy == "none":
        return Block
    # prevent_cse guards against XLA undoing the recomputation; inside a scan the loop body already does
    return nn.remat(Block, policy=REMAT[policy], prevent_cse=False)


class Decoder(nn.Module):
    """Token ids to the last hidden state. The head is not in here: `heads` applies it to the few rows needed."""

    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, tokens_BT: Array, segments_BT: Array, ends_BT: Array, positions_BT: Array) -> Array:
        s, how = self.spec, self.execution
        embedding_VD = self.param("embedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if not s.tied_embeddings:
            self.param("unembedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        x_BTD = constrain(jnp.take(embedding_VD, tokens_BT, axis=0).astype(how.dtype), "BTD", how.mesh)
        cos, sin = rope_tables(s, positions_BT)
        layers = nn.scan(
            _remat(how.remat),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=s.layers,
            unroll=min(how.unroll, s.layers),
        )
        x_BTD, _ = layers(s, how, name="layers")(x_BTD, cos, sin, (segments_BT, ends_BT, positions_BT))
        return RMSNorm(s.norm_eps, name="final_norm")(x_BTD)
