"""Compiles the train step and the scoring pass for a machine that is not here, and reads off what they need."""

import dataclasses
import functools
import re
from typing import Any

import jax
import optax

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout
from moral_jax.inference.score import Scorer, make_scorer, make_token_scorer
from moral_jax.models import api, attention_choice
from moral_jax.models.spec import Spec
from moral_jax.objectives.base import Objective
from moral_jax.plan import cost, hlo
from moral_jax.plan.machines import Topology
from moral_jax.respondents.base import is_weighed
from moral_jax.tasks import registry
from moral_jax.train import optim, step
from moral_jax.types import DIVISOR, Batch, Params, UserError
from moral_jax.workflows.build import objective_of
from moral_jax.workflows.local_model import make_model
from moral_jax.workflows.rollout_rows import Needs

VARIANTS = 2  # "A" and " A"


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
    """A program that does not fit: how much memory it would take, where the compiler says so."""

    needs: int | None


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


def compiled(lowered: Any, where: Topology) -> Program | TooLarge:
    """Compiles a program for its devices, which need not be here.

    The TPU compiler refuses what does not fit. The GPU compiler does not, so that its peak is compared with the limit.
    """
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e) and "memory" not in str(e):
            raise
        used = re.search(r"([\d.]+)([KMG])\)? (?:of|exceeds)", str(e))
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}
        return TooLarge(round(float(used[1]) * scale[used[2]]) if used else None)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if memory.peak_memory_in_bytes > where.limit:
        return TooLarge(memory.peak_memory_in_bytes)
    return Program(
        peak=memory.peak_memory_in_bytes,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        counted=hlo.count(text, where.together),
        text=text,
    )


def training_program(
    objective: Objective, model: api.Model, tx: optax.GradientTransformation, batch: Batch, where: Topology
) -> Program | TooLarge:
    """Compiles the train step.

    Args:
      batch: shapes and shardings, [M, B, ...], of whatever kind the objective asks about.
    """
    frozen, _ = api.split(api.abstract_params(model), model)
    train_step = step.make_train_step(objective, model, tx)
    return compiled(train_step.lower(step.abstract_state(model, tx), frozen, batch), where)


def _attention(asked: str | None, platform: str, spec: Spec, dtype: str, length: int) -> tuple[str, str]:
    """Returns what `attention_choice.choose` says of the machine; cuDNN is asked for shapes, as nothing can be run."""
    known = dtype == "float32" or spec.score_softcap or spec.distances  # what cuDNN never takes
    if platform != "gpu" or asked not in (None, "cudnn") or known:
        return attention_choice.choose(asked, platform, spec, dtype, length)
    q, k = (jax.ShapeDtypeStruct((1, length, n, spec.head_size), dtype) for n in (spec.heads, spec.kv_heads))
    try:
        jax.eval_shape(functools.partial(jax.nn.dot_product_attention, implementation="cudnn"), q, k, k)
    except (RuntimeError, ValueError, NotImplementedError) as e:
        why = f"cuDNN refuses it ({str(e).splitlines()[0]})"
        if asked:
            raise UserError(f"config.model.attention='cudnn': {why}") from e
        return "plain", why
    return "cudnn", ""


def model_on(config: Config, spec: Spec, where: Topology) -> api.Model:
    """Returns the model that a run of this config has on the machine."""
    return make_model(config, spec, sharding.make_mesh(config.mesh, where.devices), choose=_attention)


def params_for_scoring(model: api.Model) -> Params:
    """Returns shapes, types and shardings of the parameters that scoring and sampling read."""
    cast = functools.partial(api.cast_for_scoring, model=model)
    return sharding.abstract(jax.eval_shape(cast, api.abstract_params(model)), model.compute.mesh)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config needs on a machine."""

    config: Config
    topology: Topology
    model: api.Model
    micro_rows: int
    micro_batches: int
    training: Program | TooLarge
    scoring: Program | TooLarge | None
    reference: int = 0  # bytes of a chip; see `reference_bytes`

    @property
    def fits(self) -> bool:
        if not isinstance(self.training, Program) or isinstance(self.scoring, TooLarge):
            return False
        return not self.reference or self.training.peak + self.reference <= self.topology.limit

    def bound(self) -> cost.Bound:
        """The least time that a step can take. Only for a plan whose training fits."""
        length, chips = self.config.data.length, len(self.topology.devices)
        tokens = self.micro_rows * self.micro_batches * length
        spec, frozen = self.model.spec, bool(self.model.frozen)
        below = self.model.frozen_layers
        chip = self.topology.chip
        assert isinstance(self.training, Program), "a plan whose training fits"
        texts = _shape(self.config, self.model, 1).reads_texts
        return cost.bound(
            self.training, spec, tokens, length, chips, chip, frozen=frozen, frozen_layers=below, texts=texts
        )


def reference_bytes(config: Config, model: api.Model) -> int:
    """Returns the bytes of a chip that hold the reference of reinforcement learning beside the weights.

    It is a copy as scoring has it, where a KL divergence is weighed and all weights are trained; beside adapters the
    frozen weights are the reference. Preferences compute the reference's numbers before training and hold none.
    """
    if registry.get(config.task.name).kind != "prompts" or model.frozen:
        return 0
    needed = Needs.of(config, objective_of(config)).reference
    return sharding.held_bytes(params_for_scoring(model)) if needed else 0


def _scorer(config: Config, model: api.Model) -> Scorer:
    """Returns the scorer that a run of this config uses."""
    if registry.get(config.task.name).kind == "prompts":
        return make_token_scorer(model, config.rollout.sample.temperature)
    return make_scorer(model, weighs=is_weighed(config))


def make(config: Config, spec: Spec, where: Topology, *, scoring: bool) -> Plan:
    """Compiles for the machine. Minutes on a small one: nothing is left out of the programs."""
    model = model_on(config, spec, where)
    mesh = model.compute.mesh
    tx = optim.make(config.optim, 1000)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    micro_batches = sharding.batch_rows(config.data.batch_size, micro_rows) // micro_rows
    training = training_program(
        objective_of(config), model, tx, abstract_batch(model, config, micro_rows, micro_batches), where
    )
    scored = None
    if scoring:
        rows = sharding.micro_batch_rows(config.eval.batch_size, mesh)
        batch = abstract_batch(model, config, rows, None)
        scored = compiled(_scorer(config, model).score.lower(params_for_scoring(model), batch), where)
    return Plan(config, where, model, micro_rows, micro_batches, training, scored, reference_bytes(config, model))
