"""Memory that training holds on a chip between steps, by method. Uses shapes and shardings only; compiles nothing."""

import dataclasses
import math
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.config.model import AdapterConfig, Dtype, Quantization
from moral_jax.models import api
from moral_jax.models.spec import Spec
from moral_jax.train import optim, step
from moral_jax.workflows.local_model import make_model

GIB = 2**30


class Held(NamedTuple):
    """Bytes on one chip."""

    weights: int
    gradients: int  # float32 sums over micro-batches
    moments: int
    trained: int  # number of trained weights in the whole model; not bytes

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments


def methods(config: Config, spec: Spec) -> dict[str, Config]:
    """Returns the config for every training method. An adapter in the config is used; otherwise LoRA.

    Of encoders all weights are trained.
    """
    adapter = config.adapter
    adapter = dataclasses.replace(adapter, kind="lora") if adapter.kind == "none" else adapter

    def variant(adapter: AdapterConfig, param_dtype: Dtype, quantize: Quantization) -> Config:
        # attention does not change these numbers, and choosing the best implementation takes long
        model = dataclasses.replace(config.model, param_dtype=param_dtype, quantize=quantize, attention="plain")
        return dataclasses.replace(config, model=model, adapter=adapter)

    full = {
        "full, float32": variant(AdapterConfig(), "float32", "none"),
        "full, bfloat16": variant(AdapterConfig(), "bfloat16", "none"),
    }
    name = f"{adapter.kind}, rank {adapter.rank}"
    return full | {
        f"{name}, bfloat16": variant(adapter, "bfloat16", "none"),
        f"{name}, int8": variant(adapter, "bfloat16", "int8"),
        f"{name}, nf4": variant(adapter, "bfloat16", "nf4"),
    }


def held(config: Config, spec: Spec, mesh: Mesh) -> Held:
    """Returns what one method holds on a chip."""
    model = make_model(config, spec, mesh)
    state = step.abstract_state(model, optim.make(config.optim, 1000))
    frozen, trained = api.split(api.abstract_params(model), model)
    sums = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "float32", sharding=x.sharding), trained)
    return Held(
        weights=sharding.held_bytes((frozen, trained)),
        gradients=sharding.held_bytes(sums),
        moments=sharding.held_bytes(state.opt_state),
        trained=sum(math.prod(x.shape) for x in jax.tree.leaves(trained)),
    )


HEADER = (
    "| method                     | trained     | weights GiB | gradients GiB | moments GiB | total GiB |\n"
    "|----------------------------|-------------|-------------|---------------|-------------|-----------|"
)


def table(config: Config, spec: Spec, mesh: Mesh) -> str:
    """Returns a Markdown table of all methods. A step's temporaries come on top: `moral-jax plan` reports them."""
    rows = [HEADER]
    for name, changed in methods(config, spec).items():
        h = held(changed, spec, mesh)
        rows.append(
            f"| {name:26} | {h.trained / 1e6:9.1f} M | {h.weights / GIB:11.3f} | {h.gradients / GIB:13.3f} | "
            f"{h.moments / GIB:11.3f} | {h.total / GIB:9.3f} |"
        )
    return "\n".join(rows)
