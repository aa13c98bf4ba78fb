"""The models as pure functions of a parameter dict. Every other room calls these and nothing below them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax import sharding
from moral_jax.config.model import AdapterConfig
from moral_jax.models import adapters, heads, quantize
from moral_jax.models.decoder import Decoder
from moral_jax.models.encoder import Encoder
from moral_jax.models.spec import ComputeOptions, DecoderSpec, EncoderSpec, Spec, layer_groups
from moral_jax.types import Array, Params, Tokens


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, which parts of it are trained, and how it is computed: static under jit, hashable.

    `score_rows` is the number of rows of its score head; 0: none, options are read from the vocabulary.
    `quantize` says how the backbone's kernels are stored: none, int8 or nf4.
    `adapter` says whether the backbone is trained, or adapters beside a frozen one; its `path` is not read here.
    `per_token` says whether options that are whole texts are scored by their mean log-probability, not by the sum.
    `critic` says whether it has a value head beside the vocabulary, which PPO needs.
    `concentration` is fixed, learned or predicted; `initial_concentration` its fixed or first value.
    """

    spec: Spec
    compute: ComputeOptions
    score_rows: int
    quantize: str
    adapter: AdapterConfig
    concentration: str
    initial_concentration: float
    per_token: bool = False
    critic: bool = False

    @property
    def backbone(self) -> str:
        """The name of the backbone's parameters: decoder or encoder."""
        return self.spec.backbone

    @property
    def trains_backbone(self) -> bool:
        """True if the backbone is trained, false if adapters beside it are."""
        return self.adapter.kind == "none"

    @property
    def frozen(self) -> tuple[str, ...]:
        """The names of the parameters that are not trained."""
        return () if self.trains_backbone else (self.backbone,)

    @property
    def frozen_layers(self) -> int:
        """The number of layers below the first adapter: no gradient passes through them."""
        return self.adapter.first_layer


def module(model: Model) -> Decoder | Encoder:
    """Returns the backbone as a Flax module, without parameters: tokens and read positions -> states [B, A, D]."""
    spec, groups = model.spec, layer_groups(model.spec.layers, model.frozen_layers, model.spec.first_apart)
    if isinstance(spec, DecoderSpec):
        return Decoder(spec, model.compute, groups)
    return Encoder(spec, model.compute, groups)


def variables(params: Params, model: Model) -> dict[str, Any]:
    """Returns the parameters as `module` takes them: the backbone's, and adapters with their scaling."""
    return {
        "params": params[model.backbone],
        "adapters": adapters.scaled(params.get("adapters", {}), model.adapter),
    }


def _init_backbone(model: Model, seed: int) -> Params:
    """Returns random parameters of the backbone, as a file holds them."""
    # the smallest batch that the mesh can cut; attention kernels have smallest sizes of their own
    compute = dataclasses.replace(model.compute, attention="plain")
    backbone = module(dataclasses.replace(model, compute=compute))
    none_BT = jnp.zeros((sharding.cut_rows(compute.mesh), 1), jnp.int32)
    params = backbone.init(jax.random.key(seed), Tokens(*[none_BT] * 5), none_BT)["params"]
    return jax.tree.map(lambda x: x.astype(compute.param_dtype), params)


def _init(model: Model, seed: int) -> Params:
    backbone = _map_kernels(_init_backbone(model, seed), _storage(model, trained=model.trains_backbone))
    return {model.backbone: backbone} | _fresh(backbone, model, seed)


# a run asks for shapes many times: a model is traced once
_traced_init = jax.jit(_init, static_argnums=0)
_traced_backbone = jax.jit(_init_backbone, static_argnums=0)

Store = Callable[[Array], Array | Params]  # a kernel as it is computed with -> as it is stored


def _products_round(model: Model) -> bool:
    """True if the kernels are read by matrix products alone, and these round them to bfloat16 first."""
    how = model.compute  # DoRA takes the kernels' lengths too
    return "bfloat16" in (how.dtype, how.product_dtype) and model.adapter.kind != "dora"


def _round(kernel: Array) -> Array:
    return kernel.astype(jnp.bfloat16)


def _as_it_is(kernel: Array) -> Array:
    return kernel


def _storage(model: Model, *, trained: bool) -> Store:
    """Returns how a kernel of the backbone is stored. Kernels that are not trained are rounded once where every product
    would round them, which changes no number."""
    if model.quantize != "none":
        return quantize.PACK[model.quantize]
    return _as_it_is if trained or not _products_round(model) else _round


def _map_kernels(backbone: Params, store: Callable[[Array], Any]) -> Params:
    """Applies `store` to every kernel of a backbone."""
    leaves = traverse_util.flatten_dict(backbone, sep="/")
    stored = {path: store(leaf) if path.endswith("/kernel") else leaf for path, leaf in leaves.items()}
    return traverse_util.unflatten_dict(stored, sep="/")


def quantize_or_cast(leaf: Array, path: str, model: Model) -> Array | Params:
    """Quantises a loaded kernel of the backbone, or returns any other parameter unchanged."""
    if model.quantize == "none" or not path.endswith("/kernel"):
        return leaf
    pack = quantize.PACK[model.quantize]
    places = sharding.shardings({path: jax.eval_shape(pack, leaf)}, model.compute.mesh)
    return jax.jit(pack, out_shardings=places[path])(leaf)


def cast_for_scoring(params: Params, model: Model) -> Params:
    """Returns parameters for many scoring passes: kernels are rounded once where every product would round them."""
    if not _products_round(model):
        return params
    return params | {model.backbone: _map_kernels(params[model.backbone], _round)}


def _fresh(backbone: Params, model: Model, seed: int, yes_no: tuple[int, int] | None = None) -> Params:
    """Returns the parameters that no file of a model holds; arguments as of `init_heads_and_adapters`."""
    spec, rng = model.spec, jax.random.key(seed)
    out = {"head": heads.init_concentration(model.concentration, model.initial_concentration, spec.width)}
    if model.critic:
        out["critic"] = heads.init_critic(spec.width)
    if model.score_rows:
        out["score"] = heads.init_score(model.score_rows, spec.width, jax.random.fold_in(rng, 1))
        if isinstance(spec, EncoderSpec):
            out["score"]["pooler"] = heads.init_pooler(spec, jax.random.fold_in(rng, 2))
    if yes_no:
        yes_D, no_D = (heads.unembedding(backbone)[token].astype(jnp.float32) for token in yes_no)
        out["score"]["rows"] = (yes_D - no_D)[None]
    if model.adapter.kind != "none":
        out["adapters"] = adapters.fresh(backbone, spec, model.adapter, rng)
    return out


def init_heads_and_adapters(backbone: Params, model: Model, seed: int, yes_no: tuple[int, int] | None = None) -> Params:
    """Returns all parameters of a model around those of a bare backbone: heads and adapters are new.

    Args:
      yes_no: two tokens of a decoder's vocabulary; the one row of its score head then begins as the log-odds of the
        first against the second. Otherwise a score head begins at random.
    """
    shapes = jax.eval_shape(lambda: _fresh(backbone, model, seed, yes_no))
    places = sharding.shardings(shapes, model.compute.mesh)
    made = jax.jit(_fresh, static_argnums=(1, 3), out_shardings=places)(backbone, model, seed, yes_no)
    return {model.backbone: backbone} | made


def abstract_params(model: Model) -> Params:
    """Shapes, types and places of all parameters, without computing any."""
    return sharding.abstract(_traced_init.eval_shape(model, 0), model.compute.mesh)


def abstract_loaded(model: Model, *, trained: bool) -> Params:
    """Returns shapes, types and shardings of the backbone's parameters as they are loaded.

    Nothing is quantised yet. Kernels that are not trained may be rounded already, so that the precise ones are never
    all in memory.
    """
    shapes = sharding.abstract(_traced_backbone.eval_shape(model, 0), model.compute.mesh)
    rounds = model.quantize == "none" and not trained and _products_round(model)
    return _map_kernels(shapes, _as_bfloat16) if rounds else shapes


def _as_bfloat16(kernel: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(kernel.shape, jnp.bfloat16, sharding=kernel.sharding)


def split(params: Params, model: Model) -> tuple[Params, Params]:
    """Parameters, or their shapes, as (frozen, trained); together they are `frozen | trained` again."""
    frozen = {name: params[name] for name in model.frozen}
    return frozen, {name: tree for name, tree in params.items() if name not in frozen}


def random_params(model: Model, seed: int) -> Params:
    """A fresh random model, made straight in its shards."""
    places = sharding.shardings(abstract_params(model), model.compute.mesh)
    return jax.jit(_init, static_argnums=0, out_shardings=places)(model, seed)
