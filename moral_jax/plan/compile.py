"""Compiles the train step and the scoring pass for a TPU topology, and reads off what they need."""

import dataclasses
import importlib.util
import os
import re
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout
from moral_jax.inference.score import make_scorer
from moral_jax.models import api
from moral_jax.models.spec import DecoderSpec
from moral_jax.objectives import OBJECTIVES
from moral_jax.plan import cost, hlo
from moral_jax.plan.chips import CHIPS, Chip
from moral_jax.tasks import registry
from moral_jax.train import optim, step
from moral_jax.types import Batch, UserError
from moral_jax.workflows.build import make_policy

VARIANTS = 2  # "A" and " A"
NO_TPU_HERE = {  # or libtpu asks the cloud what machine this is, and complains that nobody answers
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # two plans at once share nothing
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice: its chip and its devices, none of which are here."""

    name: str
    chip: Chip
    devices: list[Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program, per chip; bytes and FLOPs of one run."""

    peak: int
    arguments: int
    outputs: int
    temporaries: int
    counted: hlo.Counted
    text: str


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """A program that the compiler refused for want of memory: how much it would take, where it says so."""

    needs: int | None


def topology(name: str, slices: int = 1) -> Topology:
    """The devices of one or several slices such as v5e:4x4, v5p:2x2x1 or v6e:2x4.

    Raises:
      UserError: libtpu is not installed, or there is no such topology.
    """
    generation = name.partition(":")[0]
    if generation not in CHIPS or not re.fullmatch(r"\w+:\d+(x\d+){1,2}", name):
        raise UserError(f"--topology={name}: expected GENERATION:SHAPE like v5e:4x4; generations: {', '.join(CHIPS)}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU compiler is not installed: pip install 'moral-jax[plan]'")
    for variable, value in NO_TPU_HERE.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name, num_slices=slices)
    except (RuntimeError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as e:
        raise UserError(f"--topology={name}: the TPU compiler does not know it ({str(e).splitlines()[0]})") from e
    return Topology(name if slices == 1 else f"{slices} x {name}", CHIPS[generation], list(described.devices))


def abstract_batch(policy: api.Policy, config: Config, rows: int, micro_batches: int | None) -> Batch:
    """Shapes and places of a batch as the data pipeline makes them."""
    where = sharding.of_batch(policy.execution.mesh, micro_batches=micro_batches is not None)
    lead = (rows,) if micro_batches is None else (micro_batches, rows)
    T, Q, C = (
        config.data.length,
        layout.most_questions(config.data),
        len(registry.get(config.task.name).classes or "AB"),
    )
    answers = Q * (C if config.prompt.family == "each" else 1)

    def leaf(kind: type, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*lead, *shape), kind, sharding=where)

    return Batch(
        tokens_BT=leaf(np.int32, T),
        segments_BT=leaf(np.int32, T),
        ends_BT=leaf(np.int32, T),
        positions_BT=leaf(np.int32, T),
        types_BT=leaf(np.int32, T),
        answers_BA=leaf(np.int32, answers),
        states_BQC=leaf(np.int32, Q, C),
        option_ids_BQCW=leaf(np.int32, Q, C, 1 if policy.score_rows else VARIANTS),
        counts_BQC=leaf(np.float32, Q, C),
        weights_BQ=leaf(np.float32, Q),
        items_BQ=leaf(np.int32, Q),
    )


def _compiled(lowered: Any) -> Program | TooLarge:
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e) and "memory" not in str(e):
            raise
        used = re.search(r"([\d.]+)([KMG])\)? (?:of|exceeds)", str(e))
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}
        return TooLarge(round(float(used[1]) * scale[used[2]]) if used else None)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return Program(
        peak=memory.peak_memory_in_bytes,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        counted=hlo.count(text),
        text=text,
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config needs on a slice."""

    config: Config
    topology: Topology
    policy: api.Policy
    micro_rows: int
    micro_batches: int
    training: Program | TooLarge
    scoring: Program | TooLarge | None

    @property
    def fits(self) -> bool:
        return isinstance(self.training, Program) and not isinstance(self.scoring, TooLarge)

    def bound(self) -> cost.Bound:
        """The least time that a step can take. Only for a plan whose training fits."""
        length, chips = self.config.data.length, len(self.topology.devices)
        tokens = self.micro_rows * self.micro_batches * length
        spec, frozen = self.policy.spec, bool(self.policy.frozen)
        return cost.bound(self.training, spec, tokens, length, chips, self.topology.chip, frozen=frozen)


def make(config: Config, spec: DecoderSpec, where: Topology, *, scoring: bool) -> Plan:
    """Compiles for the slice. Minutes on a small machine: nothing is left out of the programs."""
    policy = make_policy(config, spec, sharding.make_mesh(config.mesh, where.devices))
    mesh = policy.execution.mesh
    tx = optim.make(config.optim, 1000)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    micro_batches = sharding.batch_rows(config.data.batch_size, micro_rows) // micro_rows
    train_step = step.make_train_step(OBJECTIVES[config.objective.name], policy, tx)
    batch = abstract_batch(policy, config, micro_rows, micro_batches)
    params = api.abstract_params(policy)
    frozen, _ = api.split(params, policy)
    training = _compiled(train_step.lower(step.abstract_state(policy, tx), frozen, batch))
    scored = None
    if scoring:
        rows = sharding.micro_batch_rows(config.eval.batch_size, mesh)
        scorer = make_scorer(policy)
        ready = sharding.abstract(jax.eval_shape(scorer.ready, params), mesh)
        scored = _compiled(scorer.score.lower(ready, abstract_batch(policy, config, rows, None)))
    return Plan(config, where, policy, micro_rows, micro_batches, training, scored)
