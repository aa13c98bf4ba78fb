"""The models as pure functions of a parameter dict. Every other room calls these and nothing below them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax import sharding
from moral_jax.config import AdapterConfig
from moral_jax.models import adapters, heads, quantize
from moral_jax.models.attention import Places
from moral_jax.models.decoder import Decoder
from moral_jax.models.spec import DecoderSpec, Execution
from moral_jax.types import Array, Batch, OptionScores, Params


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model, what is trained of it, and how to run it: static under jit, hashable.

    `quantize` says how the decoder's kernels are kept: none, int8 or nf4.
    `adapter` says whether the decoder is trained, or adapters beside a frozen one; its `path` is not read here.
    `concentration` is fixed, learned or predicted; `concentration_value` its fixed or first value.
    """

    spec: DecoderSpec
    execution: Execution
    quantize: str
    adapter: AdapterConfig
    concentration: str
    concentration_value: float

    @property
    def decoder(self) -> Decoder:
        return Decoder(self.spec, self.execution)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Which of the parameters are not trained."""
        return () if self.adapter.kind == "none" else ("decoder",)


def _init(policy: Policy, seed: int) -> Params:
    # the smallest batch that the mesh can cut; kernels have smallest sizes of their own
    execution = dataclasses.replace(policy.execution, attention="plain")
    none_BT = jnp.zeros((sharding.cut_rows(execution.mesh), 1), jnp.int32)
    decoder, none = Decoder(policy.spec, execution), Places(none_BT, none_BT, none_BT)
    params = decoder.init(jax.random.key(seed), none_BT, none, none_BT)["params"]
    params = jax.tree.map(lambda x: x.astype(execution.param_dtype), params)
    packed = {
        path: pack(leaf) if (pack := _pack(policy, path)) else leaf
        for path, leaf in traverse_util.flatten_dict(params, sep="/").items()
    }
    params = traverse_util.unflatten_dict(packed, sep="/")
    return {"decoder": params} | _fresh(params, policy, seed)


def _rounds(policy: Policy) -> bool:
    """Whether products are all that reads the kernels, and round them first."""
    # DoRA takes their lengths too
    how = policy.execution
    return "bfloat16" in (how.dtype, how.product_dtype) and policy.adapter.kind != "dora"


def _round(kernel: Array) -> Array:
    return kernel.astype(jnp.bfloat16)


def _pack(policy: Policy, path: str) -> Callable[[Array], Array | Params] | None:
    """What is done with a parameter of the decoder before it is kept, if anything."""
    if not path.endswith("/kernel"):
        return None
    if policy.quantize != "none":
        return quantize.PACK[policy.quantize]
    return _round if policy.frozen and _rounds(policy) else None


def kept(leaf: Array, path: str, policy: Policy) -> Array | Params:
    """A parameter of the decoder, as it is loaded, to what the policy keeps of it. Kernels may be quantised; frozen
    ones are rounded once where every product would round them, which changes no number."""
    pack = _pack(policy, path)
    if pack is None:
        return leaf
    places = sharding.shardings({path: jax.eval_shape(pack, leaf)}, policy.execution.mesh)
    return jax.jit(pack, out_shardings=places[path])(leaf)


def as_read(params: Params, policy: Policy) -> Params:
    """Parameters for many scoring passes: kernels are rounded once where every product would, as frozen ones are."""
    if not _rounds(policy):
        return params
    decoder = {
        path: _round(leaf) if path.endswith("/kernel") else leaf
        for path, leaf in traverse_util.flatten_dict(params["decoder"], sep="/").items()
    }
    return params | {"decoder": traverse_util.unflatten_dict(decoder, sep="/")}


def _fresh(decoder: Params, policy: Policy, seed: int) -> Params:
    """What no file of a model holds."""
    head = heads.init_concentration(policy.concentration, policy.concentration_value, policy.spec.width)
    if policy.adapter.kind == "none":
        return {"head": head}
    return {"head": head, "adapters": adapters.fresh(decoder, policy.spec, policy.adapter, jax.random.key(seed))}


def with_fresh(decoder: Params, policy: Policy, seed: int) -> Params:
    """All parameters of a policy around those of a bare decoder: its concentration head and its adapters are new."""
    shapes = jax.eval_shape(lambda: _fresh(decoder, policy, seed))
    places = sharding.shardings(shapes, policy.execution.mesh)
    return {"decoder": decoder} | jax.jit(_fresh, static_argnums=1, out_shardings=places)(decoder, policy, seed)


def abstract_params(policy: Policy) -> Params:
    """Shapes, types and places of all parameters, without computing any."""
    return sharding.abstract(jax.eval_shape(lambda: _init(policy, 0)), policy.execution.mesh)


def abstract_loaded(policy: Policy) -> Params:
    """Shapes, types and places of the decoder's parameters as they are loaded: none is quantised or rounded yet."""
    return abstract_params(dataclasses.replace(policy, quantize="none", adapter=AdapterConfig()))["decoder"]


def split(params: Params, policy: Policy) -> tuple[Params, Params]:
    """Parameters, or their shapes, as (frozen, trained); together they are `frozen | trained` again."""
    frozen = {name: params[name] for name in policy.frozen}
    return frozen, {name: tree for name, tree in params.items() if name not in frozen}


def random_params(policy: Policy, seed: int) -> Params:
    """A fresh random model, made straight in its shards."""
    places = sharding.shardings(abstract_params(policy), policy.execution.mesh)
    return jax.jit(_init, static_argnums=0, out_shardings=places)(policy, seed)


def _hidden(params: Params, policy: Policy, tokens_BT: Array, places: Places, answers_BQ: Array) -> Array:
    variables = {"params": params["decoder"], "adapters": adapters.scaled(params.get("adapters", {}), policy.adapter)}
    return policy.decoder.apply(variables, tokens_BT, places, answers_BQ)


def answer_states(params: Params, policy: Policy, batch: Batch) -> Array:
    """Final hidden states at the answer positions, [B, Q, D]."""
    places = Places(batch.segments_BT, batch.ends_BT, batch.positions_BT)
    hidden_BQD = _hidden(params, policy, batch.tokens_BT, places, batch.answers_BQ)
    return sharding.constrain(hidden_BQD, "BQD", policy.execution.mesh)


def _scores(params: Params, policy: Policy, hidden_BQD: Array, batch: Batch) -> OptionScores:
    return OptionScores(
        logits_BQC=heads.option_logits(params["decoder"], hidden_BQD, batch.option_ids_BQCW),
        log_concentration_BQ=heads.log_concentration(params["head"], hidden_BQD, policy.concentration_value),
    )


def score_options(params: Params, policy: Policy, batch: Batch) -> OptionScores:
    """Option logits and log concentration: all that an objective needs."""
    return _scores(params, policy, answer_states(params, policy, batch), batch)


def score_options_and_mass(params: Params, policy: Policy, batch: Batch) -> tuple[OptionScores, Array]:
    """The same with the log of the total probability [B, Q] that the model puts on the options' tokens."""
    hidden_BQD = answer_states(params, policy, batch)
    scores = _scores(params, policy, hidden_BQD, batch)
    log_total_BQ = jax.nn.logsumexp(scores.logits_BQC, axis=-1)
    return scores, log_total_BQ - heads.log_normaliser(params["decoder"], hidden_BQD)


def vocabulary_logits(params: Params, policy: Policy, tokens_BT: Array) -> Array:
    """Logits [B, T, V] over the whole vocabulary of unpacked rows, float32. For parity tests and inspection only."""
    one_BT = jnp.ones_like(tokens_BT)
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    places = Places(one_BT, one_BT + 1, positions_BT)
    hidden_BTD = _hidden(params, policy, tokens_BT, places, positions_BT)
    table_VD = heads.unembedding(params["decoder"]).astype(hidden_BTD.dtype)
    return jnp.einsum("BTD,VD->BTV", hidden_BTD, table_VD).astype(jnp.float32)
