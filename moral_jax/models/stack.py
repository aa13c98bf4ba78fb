"""Runs all layers of a model: loops over stacked parameters, then the last layer at the read positions only."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models.attention import SAVED
from moral_jax.models.cache import PARTS, PREFILL
from moral_jax.models.layers import LayerInputs, unlike_layers
from moral_jax.models.mask import take_positions
from moral_jax.models.spec import FIRST, LayerGroup
from moral_jax.types import Array

REMAT = {  # checkpoint policies: which results the forward pass saves for the backward pass
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, jax.checkpoint_policies.save_only_these_names(SAVED)
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}


KEPT = "kept"  # the collection of the states of every layer, kept where it is mutable
MANY_SCORES = 2**18  # of a head, from the read positions to all keys: beyond, attention runs in blocks of all positions


def _reads_many(reads: int, length: int) -> bool:
    """Returns true if the last layer is cheaper at all positions, whose attention skips keys that none may see."""
    return reads > length // 8 and reads * length > MANY_SCORES


def _remat(block: type[nn.Module], policy: str) -> type[nn.Module]:
    """Returns a layer that recomputes in the backward pass what the policy does not save."""
    if policy == "none":
        return block
    # prevent_cse keeps XLA from undoing the recomputation; inside a scan the loop body already does that
    return nn.remat(block, policy=REMAT[policy], prevent_cse=False)


def run_layers(
    owner: nn.Module, block: type[nn.Module], groups: tuple[LayerGroup, ...], x_BTD: Array, inputs: tuple[Any, ...],
    read_BA: Array,
) -> Array:  # fmt: skip
    """Returns the states at the read positions after all layers, [B, A, D]. Call it inside a compact Flax method.

    Where the owner's collection KEPT is mutable, it gets `states` [L + 1, B, A, D]: at the read positions, what the
    first layer reads, then what each layer gives.

    Args:
      owner: the module that is running, with its `spec` and its `compute` options.
      block: a layer, `block(spec, how)(x_BTD, layer, *inputs, read_BA) -> (x, None)`; without `read_BA` it returns
        all positions. `layer` is what `layers.unlike_layers` has of it.
      inputs: the inputs of every layer beside the states.
    """
    spec, how = owner.spec, owner.compute
    layer, own = _remat(block, how.remat), unlike_layers(spec)
    keeps = owner.is_mutable_collection(KEPT) and not owner.is_initializing()
    kept = [take_positions(x_BTD, read_BA)[None]] if keeps else []

    def step(layers: nn.Module, x_BTD: Array, of_layer: LayerInputs | None, read_BA: Array, *inputs: Any) -> Any:
        x_BTD, _ = layers(x_BTD, of_layer, *inputs)
        return x_BTD, take_positions(x_BTD, read_BA) if keeps else None

    for group in groups:
        of_group = own and LayerInputs(*(jnp.asarray(x_L[group.layers.start : group.layers.stop]) for x_L in own))
        if group.stacked:
            count = len(group.layers)
            scan = nn.scan(
                step,
                variable_axes=dict.fromkeys(("params", "adapters", PREFILL, *PARTS), 0),
                split_rngs={"params": True},
                in_axes=(0, *[nn.broadcast] * (1 + len(inputs))),
                length=count,
                unroll=min(how.unroll, count),
            )
            x_BTD, states_LBAD = scan(layer(spec, how, name=group.name), x_BTD, of_group, read_BA, *inputs)
        else:
            of_layer = None if of_group is None else LayerInputs(*(x_L[0] for x_L in of_group))
            one = layer(spec, how, is_first=group.layers.start == 0, name=group.name)
            is_last = group.name != FIRST
            many = _reads_many(read_BA.shape[1], x_BTD.shape[1])
            x_BTD, _ = one(x_BTD, of_layer, *inputs, read_BA if is_last and not many else None)
            x_BTD = take_positions(x_BTD, read_BA) if is_last and many else x_BTD
            states_LBAD = (x_BTD if is_last else take_positions(x_BTD, read_BA))[None]
        kept += [states_LBAD] if keeps else []
    if keeps:
        owner.put_variable(KEPT, "states", jnp.concatenate(kept))
    return x_BTD
