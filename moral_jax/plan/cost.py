"""Costs of a training step: the model's FLOPs, and the least time that the chip's peaks allow."""

from typing import NamedTuple, Protocol

from moral_jax.models.spec import Spec
from moral_jax.plan.chips import Chip
from moral_jax.plan.hlo import Counted

COUNTING_RULE = (
    "model FLOPs: 6 per weight of the layers' matrices and token, or 4 where weights are frozen beside adapters, and "
    "6 N H T per token and layer for causal attention within a row, or 12 N H T in an encoder; below the first adapter "
    "2 and 2 N H T; the head at all tokens of texts, and nowhere else (of options it has a few rows); no products of "
    "adapters, nothing recomputed"
)


class Bound(NamedTuple):
    """Seconds per step and chip that each resource needs at its peak; the largest bounds the step."""

    compute: float
    memory: float
    network: float
    model_flops: float  # per chip
    products: float  # FLOPs of the compiled products over those of the model's; neither counts attention kernels
    mfu: float  # share of the chip's peak that model FLOPs reach at the bound

    @property
    def seconds(self) -> float:
        return max(self.compute, self.memory, self.network)

    @property
    def by(self) -> str:
        return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


class Measured(Protocol):
    """A compiled program's sizes, in bytes per chip."""

    @property
    def arguments(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def temporaries(self) -> int: ...
    @property
    def counted(self) -> Counted: ...


def layer_weights(spec: Spec) -> int:
    """Returns the number of weights in all layers' matrices."""
    attention = spec.width * spec.head_size * 2 * (spec.heads + spec.kv_heads)
    return spec.layers * (attention + (3 if spec.gated else 2) * spec.width * spec.mlp_width)


def matrix_flops(spec: Spec, tokens: int, *, frozen: bool, frozen_layers: int = 0, texts: bool = False) -> float:
    """Returns the FLOPs of one training step's products with weights, by COUNTING_RULE.

    Args:
      frozen: adapters are trained beside frozen weights.
      frozen_layers: number of layers below the first adapter.
      texts: texts are trained on, so that the head is applied to all tokens.
    """
    below, above, each = frozen_layers, spec.layers - frozen_layers, 4.0 if frozen else 6.0
    head = each * spec.width * spec.vocab if texts else 0.0
    return tokens * (layer_weights(spec) / spec.layers * (2.0 * below + each * above) + head)


def model_flops(
    spec: Spec, tokens: int, length: int, *, frozen: bool, frozen_layers: int = 0, texts: bool = False
) -> float:
    """Returns the FLOPs of one training step, by COUNTING_RULE; see `matrix_flops` for the arguments."""
    below, above = frozen_layers, spec.layers - frozen_layers
    seen = length if spec.causal else 2 * length
    attention = tokens * spec.heads * spec.head_size * seen * (2.0 * below + 6.0 * above)
    return matrix_flops(spec, tokens, frozen=frozen, frozen_layers=frozen_layers, texts=texts) + attention


def bound(
    program: Measured,
    spec: Spec,
    tokens: int,
    length: int,
    chips: int,
    chip: Chip,
    *,
    frozen: bool,
    frozen_layers: int = 0,
    texts: bool = False,
) -> Bound:
    """Returns the roofline of a step.

    Compute: all products, and cuDNN's attention, at the matrix unit's peak. Memory: arguments and outputs pass through
    memory once, temporaries once out and once in. Network: what is sent within a slice, or within a machine with GPUs,
    goes over all links of a chip at once. Traffic between slices or machines is left out, because no figure of that
    network holds everywhere.
    """
    compute = (program.counted.flops + program.counted.attention) / chip.bf16_flops
    memory = (program.arguments + program.outputs + 2 * program.temporaries) / chip.hbm_bytes
    network = program.counted.sent_within / (chip.links * chip.link_bytes)
    useful = model_flops(spec, tokens, length, frozen=frozen, frozen_layers=frozen_layers, texts=texts) / chips
    matrices = matrix_flops(spec, tokens, frozen=frozen, frozen_layers=frozen_layers, texts=texts)
    products = program.counted.flops / (matrices / chips)
    return Bound(compute, memory, network, useful, products, useful / chip.bf16_flops / max(compute, memory, network))
