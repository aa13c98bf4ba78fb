"""Compiles the train step and the scoring pass for a TPU topology, and reads off what they need."""

import dataclasses
import functools
import importlib.util
import os
import re
from typing import Any

import jax
import optax
from jax.experimental import topologies

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout
from moral_jax.inference.score import Scorer, make_scorer, make_token_scorer
from moral_jax.models import api
from moral_jax.models.spec import DecoderSpec
from moral_jax.objectives.base import Objective
from moral_jax.plan import cost, hlo
from moral_jax.plan.chips import CHIPS, Chip
from moral_jax.respondents.base import is_weighed
from moral_jax.tasks import registry
from moral_jax.train import optim, step
from moral_jax.types import DIVISOR, Batch, Params, UserError
from moral_jax.workflows.build import objective_of
from moral_jax.workflows.local_model import make_model
from moral_jax.workflows.rollout_rows import Needs

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


def abstract_batch(model: api.Model, config: Config, rows: int, micro_batches: int | None) -> Batch:
    """Returns shapes and shardings of a batch as the data pipeline makes it.

    Args:
      rows: of the batch, or of each micro-batch.
      micro_batches: how many there are; None: the batch is not divided.
    """
    where = sharding.of_batch(model.compute.mesh, micro_batches=micro_batches is not None)
    lead = () if micro_batches is None else (micro_batches,)

    def describe(size: tuple[int, ...], value: int, kind: type) -> jax.ShapeDtypeStruct:
        del value
        return jax.ShapeDtypeStruct((*lead, *size), kind, sharding=where)

    return layout.blank(rows, _shape(config, model, rows), describe)


def _shape(config: Config, model: api.Model, rows: int) -> layout.Shape:
    """Returns the shape of a batch of full rows."""
    task, length, questions = registry.get(config.task.name), config.data.length, layout.most_questions(config.data)
    head, kind = config.model.head, task.kind
    options = {"texts": 1, "preferences": 2, "prompts": 1}.get(kind) or len(task.classes or "AB")
    if kind == "prompts":
        of_tokens = Needs.of(config, objective_of(config)).token_columns
        return layout.Shape(rows, rows, length, questions, length, options, 0, True, (DIVISOR,), of_tokens)
    if head == "text" or (kind != "votes" and head != "score"):  # of texts all tokens may be read
        columns = objective_of(config).columns
        return layout.Shape(rows, rows, length, questions, length, options, 0, reads_texts=True, columns=columns)
    return layout.Shape(
        rows=rows,
        data_rows=rows,
        length=length,
        questions=questions,
        answers=questions * (options if head == "score" else 1),
        options=options,
        variants=1 if model.score_rows else VARIANTS,
    )


def compiled(lowered: Any) -> Program | TooLarge:
    """Compiles a program for its devices, which need not be here."""
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


def training_program(
    objective: Objective, model: api.Model, tx: optax.GradientTransformation, batch: Batch
) -> Program | TooLarge:
    """Compiles the train step.

    Args:
      batch: shapes and shardings, [M, B, ...], of whatever kind the objective asks about.
    """
    frozen, _ = api.split(api.abstract_params(model), model)
    train_step = step.make_train_step(objective, model, tx)
    return compiled(train_step.lower(step.abstract_state(model, tx), frozen, batch))


def params_for_scoring(model: api.Model) -> Params:
    """Returns shapes, types and shardings of the parameters that scoring and sampling read."""
    cast = functools.partial(api.cast_for_scoring, model=model)
    return sharding.abstract(jax.eval_shape(cast, api.abstract_params(model)), model.compute.mesh)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config needs on a slice."""

    config: Config
    topology: Topology
    model: api.Model
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
        spec, frozen = self.model.spec, bool(self.model.frozen)
        below = self.model.frozen_layers
        chip = self.topology.chip
        assert isinstance(self.training, Program), "a plan whose training fits"
        assert isinstance(spec, DecoderSpec), "as `make` asks for"
        texts = _shape(self.config, self.model, 1).reads_texts
        return cost.bound(
            self.training, spec, tokens, length, chips, chip, frozen=frozen, frozen_layers=below, texts=texts
        )


def _scorer(config: Config, model: api.Model) -> Scorer:
    """Returns the scorer that a run of this config uses."""
    if registry.get(config.task.name).kind == "prompts":
        return make_token_scorer(model, config.rollout.sample.temperature)
    return make_scorer(model, weighs=is_weighed(config))


def make(config: Config, spec: DecoderSpec, where: Topology, *, scoring: bool) -> Plan:
    """Compiles for the slice. Minutes on a small machine: nothing is left out of the programs."""
    model = make_model(config, spec, sharding.make_mesh(config.mesh, where.devices))
    mesh = model.compute.mesh
    tx = optim.make(config.optim, 1000)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    micro_batches = sharding.batch_rows(config.data.batch_size, micro_rows) // micro_rows
    training = training_program(
        objective_of(config), model, tx, abstract_batch(model, config, micro_rows, micro_batches)
    )
    scored = None
    if scoring:
        rows = sharding.micro_batch_rows(config.eval.batch_size, mesh)
        batch = abstract_batch(model, config, rows, None)
        scored = compiled(_scorer(config, model).score.lower(params_for_scoring(model), batch))
    return Plan(config, where, model, micro_rows, micro_batches, training, scored)
