"""One Llama-shaped decoder for Llama, Mistral, Zephyr and SmolLM2."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models.attention import ATTENTION, SAVED, Places, answer_attention, at
from moral_jax.models.layers import GatedMlp, Linear, RMSNorm, Rope, apply_rope, rope_tables
from moral_jax.models.spec import DecoderSpec, Execution
from moral_jax.sharding import constrain
from moral_jax.types import Array


class Attention(nn.Module):
    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array, rope: Rope, places: Places, answers_BQ: Array | None) -> Array:
        s, how = self.spec, self.execution

        def project(x_BTD: Array, heads: int, name: str) -> Array:
            y = Linear(heads * s.head_size, how.product_dtype, name=name)(x_BTD)
            return constrain(y.reshape(*x_BTD.shape[:2], heads, s.head_size), "BTNH", how.mesh)

        k_BTKH = apply_rope(project(x_BTD, s.kv_heads, "key"), rope)
        v_BTKH = project(x_BTD, s.kv_heads, "value")
        if answers_BQ is not None:
            x_BTD, rope = jax.tree.map(lambda x: at(x, answers_BQ), (x_BTD, rope))
        q_BTNH = apply_rope(project(x_BTD, s.heads, "query"), rope)
        if answers_BQ is None:
            out_BTNH = ATTENTION[how.attention](q_BTNH, k_BTKH, v_BTKH, places, s.sliding_window, how)
        else:
            out_BTNH = answer_attention(q_BTNH, k_BTKH, v_BTKH, places, answers_BQ, s.sliding_window, how)
        return Linear(s.width, how.product_dtype, name="out")(out_BTNH.reshape(*out_BTNH.shape[:2], -1))


class Block(nn.Module):
    """A layer. With `answers_BQ` it returns these positions alone, and of the others computes keys and values only."""

    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array, rope: Rope, places: Places, answers_BQ: Array | None = None) -> tuple[Array, None]:
        s, mesh = self.spec, self.execution.mesh
        h_BTD = RMSNorm(s.norm_eps, name="attention_norm")(x_BTD)
        attended_BTD = Attention(s, self.execution, name="attention")(h_BTD, rope, places, answers_BQ)
        x_BTD = x_BTD if answers_BQ is None else at(x_BTD, answers_BQ)
        x_BTD = constrain(x_BTD + attended_BTD, "BTD", mesh)
        h_BTD = RMSNorm(s.norm_eps, name="mlp_norm")(x_BTD)
        return constrain(x_BTD + GatedMlp(s.mlp_width, self.execution, name="mlp")(h_BTD), "BTD", mesh), None


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
    """Token ids to the final hidden states at the answer positions, [B, Q, D]. The head is not in here: `heads`
    applies it to the few rows needed."""

    spec: DecoderSpec
    execution: Execution

    @nn.compact
    def __call__(self, tokens_BT: Array, places: Places, answers_BQ: Array) -> Array:
        s, how = self.spec, self.execution
        embedding_VD = self.param("embedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        if not s.tied_embeddings:
            self.param("unembedding", nn.initializers.normal(0.02), (s.vocab, s.width))
        x_BTD = constrain(jnp.take(embedding_VD, tokens_BT, axis=0).astype(how.dtype), "BTD", how.mesh)
        rope, layer = rope_tables(s, places.positions_BT), _remat(how.remat)
        for group in s.layer_groups:
            if group.stacked:
                count = len(group.layers)
                layers = nn.scan(
                    layer,
                    variable_axes={"params": 0, "adapters": 0},
                    split_rngs={"params": True},
                    in_axes=nn.broadcast,
                    length=count,
                    unroll=min(how.unroll, count),
                )
                x_BTD, _ = layers(s, how, name=group.name)(x_BTD, rope, places)
            else:
                x_BTD, _ = layer(s, how, name=group.name)(x_BTD, rope, places, answers_BQ)
        return RMSNorm(s.norm_eps, name="final_norm")(x_BTD)
