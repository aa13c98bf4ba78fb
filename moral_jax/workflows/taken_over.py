"""What a run takes over from the run that it begins with (`config.model.path=run:DIR`), straight from its checkpoint.

- All weights, if the run before has trained them all: its backbone is the backbone.
- Adapters, if both runs have the same adapter settings: training goes on with the adapters of the run before, beside
  the same frozen weights. Adapters of other settings are merged into the weights beside them.
- Heads, where both runs have the same one: concentration, scores, values.

So this run begins with exactly what the run before ended with, and that is its reference. Weights that would be stored
in fewer bits than they were trained in are refused: most of what training adds lies below the last bit of bfloat16.
"""

import dataclasses
from typing import NamedTuple

import jax

from moral_jax.config import Config
from moral_jax.models import adapters, api, quantize
from moral_jax.types import Array, Params, UserError
from moral_jax.weights.load import flat, nest
from moral_jax.workflows import earlier
from moral_jax.workflows.earlier import Earlier

HEADS = ("head", "score", "critic")


class Before(NamedTuple):
    """The run that another one begins with."""

    found: Earlier
    model: api.Model  # its own, laid out on the devices of the run that takes it over
    goes_on: bool  # true if that run trains the same adapters further


def before(found: Earlier, own: api.Model, config: Config, model: api.Model) -> Before:
    """Returns what is taken over, after checking that nothing of it is lost.

    Args:
      found: the run before.
      own: its model.
      config: of the run that takes it over.
      model: the model of that run.

    Raises:
      UserError: the weights would be rounded, or their layers are divided in another way.
    """
    same = config.adapter == dataclasses.replace(found.config.adapter, path=None)
    stored = (own.quantize, own.compute.param_dtype) == (model.quantize, model.compute.param_dtype)
    goes_on = same and config.adapter.kind != "none"
    if goes_on and stored:
        return Before(found, own, goes_on=True)
    where = f"config.model.path=run:{found.run.path}"
    if own.frozen_layers != model.frozen_layers:
        raise UserError(
            f"{where}: has config.adapter.first_layer={own.frozen_layers}, and this run {model.frozen_layers}; give "
            f"both the same, or export the run (moral-jax export) and name the folder"
        )
    kept = own.compute.param_dtype if own.trains_backbone else "float32"
    if model.quantize != "none" or (kept, model.compute.param_dtype) == ("float32", "bfloat16"):
        fewer = model.quantize if model.quantize != "none" else "bfloat16"
        remedy = (
            "" if own.trains_backbone else ", or train the same adapters further (the same config.adapter and model)"
        )
        raise UserError(
            f"{where}: its trained weights are {kept}, and storing them as {fewer} would round away some of what it "
            f"has trained; set --config.model.quantize=none and --config.model.param_dtype={kept}{remedy}"
        )
    return Before(found, own, goes_on=False)


def heads(of: Before, model: api.Model) -> Params:
    """Returns the trained parameters beside the backbone that another model has too: heads, and adapters that go on."""
    theirs, ours = api.abstract_params(of.model), api.abstract_params(model)
    names = [*HEADS, *(["adapters"] if of.goes_on else [])]
    like = {
        name: theirs[name] for name in names if theirs.get(name) and _shapes(theirs[name]) == _shapes(ours.get(name))
    }
    return earlier.restored(of.found, like) if like else {}


def _shapes(tree: Params | None) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flat(tree or {}).items()}


def whole(of: Before) -> Params:
    """Returns the backbone that the run before has trained."""
    name = of.model.backbone
    return earlier.restored(of.found, {name: api.abstract_params(of.model)[name]})[name]


def merged(of: Before, backbone: Params) -> Params:
    """Returns the backbone that the adapters of the run before were trained beside, with them merged into it.

    Args:
      backbone: as that run stores it.
    """
    like = {"adapters": api.abstract_params(of.model)["adapters"]}
    scaled = flat(adapters.scaled(earlier.restored(of.found, like)["adapters"], of.model.adapter))
    names = adapters.leaves(of.model.adapter)
    shapes = flat(api.abstract_loaded(of.model, trained=True))
    adapted = {f"{path.rpartition('/')[0]}/kernel" for path in scaled}

    def one(path: str) -> Array:
        *parents, last = path.split("/")
        leaf = backbone
        for part in parents:
            leaf = leaf[part]
        if path not in adapted:
            return quantize.restored(leaf[last], shapes[path].dtype)
        adapter = {name: scaled[f"{'/'.join(parents)}/{name}"] for name in names}
        return jax.jit(adapters.merged, out_shardings=shapes[path].sharding)(leaf[last], adapter)

    return nest({path: one(path) for path in shapes})


def as_loaded(backbone: Params, model: api.Model, *, trained: bool) -> Params:
    """Returns a backbone in the types in which a model's files are loaded, and quantised where they are."""
    like = flat(api.abstract_loaded(model, trained=trained))
    leaves = {path: leaf.astype(like[path].dtype) for path, leaf in flat(backbone).items()}
    return nest({path: api.quantize_or_cast(leaf, path, model) for path, leaf in leaves.items()})
