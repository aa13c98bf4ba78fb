"""Plans of sampling: the compiled programs of the sampler on a machine that is not here, for more and more replies."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.inference.sampler import ROUNDS, SMALLEST, Sampler, bucket
from moral_jax.models.spec import DecoderSpec, Spec
from moral_jax.plan.chips import GIB
from moral_jax.plan.compile import Program, TooLarge, compiled, model_on, params_for_scoring
from moral_jax.plan.machines import Topology
from moral_jax.types import UserError

SIZES = (1, 8, 32, 64, 128, 256, 512, 1024)  # replies at a time


@dataclasses.dataclass(frozen=True)
class SamplePlan:
    """So many replies at a time; bytes are those of one chip."""

    topology: Topology
    replies: int
    weights: int
    cache: int
    beginning: Program | TooLarge  # computes prompts
    going_on: Program | TooLarge  # chooses `ROUNDS` tokens more for every reply

    @property
    def fits(self) -> bool:
        """True if the compiler accepts both programs."""
        return isinstance(self.beginning, Program) and isinstance(self.going_on, Program)

    @property
    def peak(self) -> int:
        """Bytes of the larger program, of plans that fit."""
        return max(p.peak for p in (self.beginning, self.going_on) if isinstance(p, Program))

    def seconds(self) -> dict[str, float]:
        """Returns the least time of one token of all replies, by what it is spent on, of plans that fit.

        Memory: weights and cache are read once. Network: what the program sends within a slice goes over all links of a
        chip at once.
        """
        chip = self.topology.chip
        assert isinstance(self.going_on, Program), "a plan that fits"
        counted = self.going_on.counted
        return {
            "memory": (self.weights + self.cache) / chip.hbm_bytes,
            "products": counted.flops / ROUNDS / chip.bf16_flops,
            "network": counted.sent_within / ROUNDS / (chip.links * chip.link_bytes),
        }


def plans(config: Config, spec: Spec, where: Topology, prompt_tokens: int, max_tokens: int) -> Iterator[SamplePlan]:
    """Yields a plan for each number of replies at a time that the mesh can divide, up to the first that does not fit.

    All prompts differ, so that each reply has one of its own.

    Raises:
      UserError: the model is an encoder, or has fewer positions.
    """
    if not isinstance(spec, DecoderSpec):
        raise UserError(f"--sample: {spec.family} is an encoder, and writes no texts")
    if prompt_tokens + max_tokens > spec.max_positions:
        raise UserError(
            f"--prompt-tokens={prompt_tokens} --max-tokens={max_tokens}: the model has {spec.max_positions} positions"
        )
    model = model_on(config, spec, where)
    params, length = params_for_scoring(model), bucket(prompt_tokens, SMALLEST)
    for replies in SIZES:
        if replies % sharding.cut_rows(model.compute.mesh):
            continue
        sampler = Sampler(model, 1, replies, max_tokens)
        state = sampler.abstract_state(params, length)
        programs = [compiled(lowered, where) for lowered in sampler.lower(params, length)]
        weights, cache = sharding.held_bytes(params), sharding.held_bytes((state.prefix, state.own))
        plan = SamplePlan(where, replies, weights, cache, *programs)
        yield plan
        if not plan.fits:
            return


def summary(plan: SamplePlan) -> dict[str, Any]:
    """Returns all numbers of a plan, as JSON."""
    out: dict[str, Any] = {
        "topology": plan.topology.name,
        "replies": plan.replies,
        "weights_gib": plan.weights / GIB,
        "cache_gib": plan.cache / GIB,
        "limit_gib": plan.topology.chip.hbm_gib,
        "fits": plan.fits,
    }
    if plan.fits:
        seconds = plan.seconds()
        least = max(seconds.values())
        out |= {"peak_gib": plan.peak / GIB, "seconds": seconds, "tokens_per_second": plan.replies / least}
    return out


HEADER = (
    "| replies | weights GiB | cache GiB | peak GiB | of | ms per token >= | bound by | tokens/s <= |\n"
    "|---------|-------------|-----------|----------|----|-----------------|----------|-------------|"
)


def row(plan: SamplePlan) -> str:
    """Returns a row of a Markdown table; memory is that of one chip."""
    s = summary(plan)
    cells = [f"{plan.replies:7}", f"{s['weights_gib']:11.2f}", f"{s['cache_gib']:9.2f}"]
    if plan.fits:
        by = max(s["seconds"], key=s["seconds"].get)
        cells += [f"{s['peak_gib']:8.2f}", f"{s['limit_gib']:2}", f"{1000 * s['seconds'][by]:15.2f}", f"{by:8}"]
        cells.append(f"{s['tokens_per_second']:11.0f}")
    else:
        cells += [f"{'too large':8}", f"{s['limit_gib']:2}", " " * 15, " " * 8, " " * 11]
    return "| " + " | ".join(cells) + " |"
