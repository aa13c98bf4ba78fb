"""The models as pure functions of a parameter dict. Every other room calls these and nothing below them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax import sharding
from moral_jax.config.model import AdapterConfig
from moral_jax.models import adapters, heads, quantize
from moral_jax.models.attention import Places
from moral_jax.models.decoder import Decoder
from moral_jax.models.encoder import Encoder
from moral_jax.models.spec import DecoderSpec, EncoderSpec, Execution, Spec
from moral_jax.types import Array, Batch, OptionScores, Params


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model, what is trained of it, and how to run it: static under jit, hashable.

    `score_rows` is how many rows its score head has; 0: none, options are read from the vocabulary.
    `quantize` says how the backbone's kernels are kept: none, int8 or nf4.
    `adapter` says whether the backbone is trained, or adapters beside a frozen one; its `path` is not read here.
    `concentration` is fixed, learned or predicted; `concentration_value` its fixed or first value.
    """

    spec: Spec
    execution: Execution
    score_rows: int
    quantize: str
    adapter: AdapterConfig
    concentration: str
    concentration_value: float

    @property
    def backbone(self) -> str:
        """The name of its parameters: decoder or encoder."""
        return self.spec.backbone

    @property
    def trains_backbone(self) -> bool:
        """Whether the backbone is trained, not adapters beside it."""
        return self.adapter.kind == "none"

    @property
    def frozen(self) -> tuple[str, ...]:
        """Which of the parameters are not trained."""
        return () if self.trains_backbone else (self.backbone,)


MODULES = {DecoderSpec: Decoder, EncoderSpec: Encoder}


def module(policy: Policy) -> Decoder | Encoder:
    """Token ids to states: the backbone of a policy, without its parameters."""
    return MODULES[type(policy.spec)](policy.spec, policy.execution)


def _init(policy: Policy, seed: int) -> Params:
    # the smallest batch that the mesh can cut; kernels have smallest sizes of their own
    execution = dataclasses.replace(policy.execution, attention="plain")
    backbone = module(dataclasses.replace(policy, execution=execution))
    none_BT = jnp.zeros((sharding.cut_rows(execution.mesh), 1), jnp.int32)
    none = Places(none_BT, none_BT, none_BT, none_BT)
    params = backbone.init(jax.random.key(seed), none_BT, none, none_BT)["params"]
    params = jax.tree.map(lambda x: x.astype(execution.param_dtype), params)
    packed = {
        path: pack(leaf) if (pack := _pack(policy, path, trained=policy.trains_backbone)) else leaf
        for path, leaf in traverse_util.flatten_dict(params, sep="/").items()
    }
    params = traverse_util.unflatten_dict(packed, sep="/")
    return {policy.backbone: params} | _fresh(params, policy, seed)


_traced_init = jax.jit(_init, static_argnums=0)  # a run asks for shapes many times: a policy is traced once


def _rounds(policy: Policy) -> bool:
    """Whether products are all that reads the kernels, and round them first."""
    # DoRA takes their lengths too
    how = policy.execution
    return "bfloat16" in (how.dtype, how.product_dtype) and policy.adapter.kind != "dora"


def _round(kernel: Array) -> Array:
    return kernel.astype(jnp.bfloat16)


def _pack(policy: Policy, path: str, *, trained: bool) -> Callable[[Array], Array | Params] | None:
    """What is done with a parameter of the backbone before it is kept, if anything. Kernels may be quantised; those
    that are not trained are rounded once where every product would round them, which changes no number."""
    if not path.endswith("/kernel"):
        return None
    if policy.quantize != "none":
        return quantize.PACK[policy.quantize]
    return None if trained or not _rounds(policy) else _round


def kept(leaf: Array, path: str, policy: Policy) -> Array | Params:
    """A parameter of the backbone, as it is loaded, to what is kept of it: quantised, or as it is."""
    pack = _pack(policy, path, trained=True)
    if pack is None:
        return leaf
    places = sharding.shardings({path: jax.eval_shape(pack, leaf)}, policy.execution.mesh)
    return jax.jit(pack, out_shardings=places[path])(leaf)


def as_read(params: Params, policy: Policy) -> Params:
    """Parameters for many scoring passes: kernels are rounded once where every product would round them."""
    if not _rounds(policy):
        return params
    backbone = {
        path: _round(leaf) if path.endswith("/kernel") else leaf
        for path, leaf in traverse_util.flatten_dict(params[policy.backbone], sep="/").items()
    }
    return params | {policy.backbone: traverse_util.unflatten_dict(backbone, sep="/")}


def _fresh(backbone: Params, policy: Policy, seed: int, yes_no: tuple[int, int] | None = None) -> Params:
    """What no file of a model holds; arguments as of `with_fresh`."""
    spec, rng = policy.spec, jax.random.key(seed)
    out = {"head": heads.init_concentration(policy.concentration, policy.concentration_value, spec.width)}
    if policy.score_rows:
        pooled = isinstance(spec, EncoderSpec)
        out["score"] = heads.init_score(policy.score_rows, spec.width, jax.random.fold_in(rng, 1), pooled=pooled)
    if yes_no:
        yes_D, no_D = (heads.unembedding(backbone)[token].astype(jnp.float32) for token in yes_no)
        out["score"]["rows"] = (yes_D - no_D)[None]
    if policy.adapter.kind != "none":
        out["adapters"] = adapters.fresh(backbone, spec, policy.adapter, rng)
    return out


def with_fresh(backbone: Params, policy: Policy, seed: int, yes_no: tuple[int, int] | None = None) -> Params:
    """All parameters of a policy around those of a bare backbone: heads and adapters are new.

    Args:
      yes_no: two tokens of a decoder's vocabulary; the one row of its score head then begins as the log-odds of the
        first against the second. Otherwise a score head begins at random.
    """
    shapes = jax.eval_shape(lambda: _fresh(backbone, policy, seed, yes_no))
    places = sharding.shardings(shapes, policy.execution.mesh)
    made = jax.jit(_fresh, static_argnums=(1, 3), out_shardings=places)(backbone, policy, seed, yes_no)
    return {policy.backbone: backbone} | made


def abstract_params(policy: Policy) -> Params:
    """Shapes, types and places of all parameters, without computing any."""
    return sharding.abstract(_traced_init.eval_shape(policy, 0), policy.execution.mesh)


def abstract_loaded(policy: Policy, *, trained: bool) -> Params:
    """Shapes, types and places of the backbone's parameters as they are loaded: none is quantised yet, but what is not
    trained may be rounded already, so that it is never all there in more bits."""
    shapes = abstract_params(dataclasses.replace(policy, quantize="none", adapter=AdapterConfig()))[policy.backbone]
    loaded = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=leaf.sharding)
        if _pack(policy, path, trained=trained) is _round
        else leaf
        for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()
    }
    return traverse_util.unflatten_dict(loaded, sep="/")


def split(params: Params, policy: Policy) -> tuple[Params, Params]:
    """Parameters, or their shapes, as (frozen, trained); together they are `frozen | trained` again."""
    frozen = {name: params[name] for name in policy.frozen}
    return frozen, {name: tree for name, tree in params.items() if name not in frozen}


def random_params(policy: Policy, seed: int) -> Params:
    """A fresh random model, made straight in its shards."""
    places = sharding.shardings(abstract_params(policy), policy.execution.mesh)
    return jax.jit(_init, static_argnums=0, out_shardings=places)(policy, seed)


def _hidden(params: Params, policy: Policy, tokens_BT: Array, places: Places, answers_BA: Array) -> Array:
    adapting = adapters.scaled(params.get("adapters", {}), policy.adapter)
    variables = {"params": params[policy.backbone], "adapters": adapting}
    return module(policy).apply(variables, tokens_BT, places, answers_BA)


def answer_states(params: Params, policy: Policy, batch: Batch) -> Array:
    """Final hidden states at the answer positions, [B, A, D]: those that heads read, so an encoder's are pooled."""
    places = Places(batch.segments_BT, batch.ends_BT, batch.positions_BT, batch.types_BT)
    hidden_BAD = _hidden(params, policy, batch.tokens_BT, places, batch.answers_BA)
    if "pooler" in params.get("score", {}):
        hidden_BAD = heads.pooled(params["score"]["pooler"], hidden_BAD, policy.execution.product_dtype)
    return sharding.constrain(hidden_BAD, "BAD", policy.execution.mesh)


def _table(params: Params, policy: Policy) -> heads.Table:
    """What options are rows of."""
    if policy.score_rows:
        return heads.Table(params["score"]["rows"], params["score"].get("bias"))
    return heads.Table(heads.unembedding(params[policy.backbone]), None)


def _scores(params: Params, policy: Policy, hidden_BAD: Array, batch: Batch) -> OptionScores:
    log_s_BA = heads.log_concentration(params["head"], hidden_BAD, policy.concentration_value)
    where = batch.states_BQC, batch.option_ids_BQCW
    return OptionScores(
        logits_BQC=heads.option_logits(_table(params, policy), hidden_BAD, *where),
        log_concentration_BQ=heads.of_questions(log_s_BA, *where),
    )


def score_options(params: Params, policy: Policy, batch: Batch) -> OptionScores:
    """Option logits and log concentration: all that an objective needs."""
    return _scores(params, policy, answer_states(params, policy, batch), batch)


def score_options_and_mass(params: Params, policy: Policy, batch: Batch) -> tuple[OptionScores, Array | None]:
    """The same with the log of the total probability [B, Q] that the model puts on the options' tokens; None where
    options are no tokens."""
    hidden_BAD = answer_states(params, policy, batch)
    scores = _scores(params, policy, hidden_BAD, batch)
    if policy.score_rows:
        return scores, None
    log_all_BA = heads.log_normaliser(_table(params, policy), hidden_BAD)
    log_total_BQ = jax.nn.logsumexp(scores.logits_BQC, axis=-1)
    return scores, log_total_BQ - heads.of_questions(log_all_BA, batch.states_BQC, batch.option_ids_BQCW)


def vocabulary_logits(params: Params, policy: Policy, tokens_BT: Array) -> Array:
    """Logits [B, T, V] over a decoder's whole vocabulary of unpacked rows, float32. For parity tests and inspection
    only."""
    one_BT = jnp.ones_like(tokens_BT)
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    places = Places(one_BT, one_BT + 1, positions_BT)
    hidden_BTD = _hidden(params, policy, tokens_BT, places, positions_BT)
    table_VD = heads.unembedding(params[policy.backbone]).astype(hidden_BTD.dtype)
    return jnp.einsum("BTD,VD->BTV", hidden_BTD, table_VD).astype(jnp.float32)
