"""What training holds on a chip from step to step, by method. From shapes and places alone: nothing is compiled."""

import dataclasses
import math
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.config.model import AdapterConfig
from moral_jax.models import api
from moral_jax.models.spec import DecoderSpec
from moral_jax.train import optim, step
from moral_jax.workflows.build import make_model

GIB = 2**30


class Held(NamedTuple):
    """Bytes on one chip."""

    weights: int
    gradients: int  # float32 sums over micro-batches
    moments: int
    trained: int  # weights that are trained, of the whole model: a number, not bytes

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments


def methods(config: Config) -> dict[str, Config]:
    """The config by every method; its own adapter is kept, where it has one."""
    adapter = config.adapter
    adapter = dataclasses.replace(adapter, kind="lora") if adapter.kind == "none" else adapter

    def by(adapter: AdapterConfig, param_dtype: str, quantize: str) -> Config:
        # which attention computes it changes nothing here, and looking for the best takes long
        how = {"param_dtype": param_dtype, "quantize": quantize, "attention": "plain"}
        return dataclasses.replace(config, model=dataclasses.replace(config.model, **how), adapter=adapter)

    name = f"{adapter.kind}, rank {adapter.rank}"
    return {
        "full, float32": by(AdapterConfig(), "float32", "none"),
        "full, bfloat16": by(AdapterConfig(), "bfloat16", "none"),
        f"{name}, bfloat16": by(adapter, "bfloat16", "none"),
        f"{name}, int8": by(adapter, "bfloat16", "int8"),
        f"{name}, nf4": by(adapter, "bfloat16", "nf4"),
    }


def held(config: Config, spec: DecoderSpec, mesh: Mesh) -> Held:
    """Of one method."""
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


def table(config: Config, spec: DecoderSpec, mesh: Mesh) -> str:
    """A row for each method. What a step computes on the way comes on top: `moral-jax plan` knows it."""
    rows = [HEADER]
    for name, changed in methods(config).items():
        h = held(changed, spec, mesh)
        rows.append(
            f"| {name:26} | {h.trained / 1e6:9.1f} M | {h.weights / GIB:11.3f} | {h.gradients / GIB:13.3f} | "
            f"{h.moments / GIB:11.3f} | {h.total / GIB:9.3f} |"
        )
    return "\n".join(rows)
