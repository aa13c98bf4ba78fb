"""Plans one config on one machine, or searches for the settings that make the most of it (`moral-jax plan`).

`plan.compile` compiles a config; this module searches over configs and reports. `search` goes through meshes and remat
policies. For each pair `largest` looks for the largest micro-batch that fits. A compilation takes minutes, so it fits a
line through the memory of the first two sizes and starts where the line meets the limit. `front` then keeps the plans
that no other beats in both memory and time.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moral_jax import sharding
from moral_jax.config import Config, saved
from moral_jax.config.model import MeshConfig, Remat
from moral_jax.models.spec import DecoderSpec, Spec, from_hf
from moral_jax.plan import cost
from moral_jax.plan.chips import GIB
from moral_jax.plan.compile import Plan, Program, TooLarge, make
from moral_jax.plan.machines import Topology
from moral_jax.runtime import console
from moral_jax.types import UserError
from moral_jax.weights import load, source
from moral_jax.weights.published import CONFIGS

GB, TFLOP = 1e9, 1e12
REMAT: tuple[Remat, ...] = ("full", "dots", "none")
TENSORS = (1, 2, 4)


def read_spec(path: str) -> DecoderSpec:
    """Returns the spec in a model's `config.json`; without a network, that of the published copy in this package.

    Raises:
      UserError: the model is an encoder; plans are made for decoders, the larger models.
    """
    spec = _read_spec(path)
    if not isinstance(spec, DecoderSpec):
        raise UserError(f"{path}: {spec.family} is an encoder; plans are made for decoders only")
    return spec


def _read_spec(path: str) -> Spec:
    if path not in CONFIGS:
        return load.read_spec(source.resolve(path))
    try:
        return load.read_spec(source.resolve(path, hub_files=["config.json"]))
    except UserError as e:
        console.info(f"{path}: could not be fetched ({e}); planning with the config.json that its makers published")
        return from_hf(CONFIGS[path], path)


def summary(plan: Plan) -> dict[str, Any]:
    """Returns all numbers of a plan, as JSON."""
    c = plan.config
    out: dict[str, Any] = {
        "model": c.model.path,
        "topology": plan.topology.name,
        "chip": plan.topology.chip.name,
        "chips": len(plan.topology.devices),
        "mesh": dict(plan.model.compute.mesh.shape),
        "remat": c.model.remat,
        "attention": plan.model.compute.attention,
        "rows": plan.micro_rows * plan.micro_batches,
        "micro_rows": plan.micro_rows,
        "length": c.data.length,
        "limit_gib": plan.topology.chip.hbm_gib,
        "fits": plan.fits,
    }
    for name, program in (("training", plan.training), ("scoring", plan.scoring)):
        if isinstance(program, TooLarge):
            out[name] = {"needs_gib": program.needs and program.needs / GIB}
        elif program:
            out[name] = {
                "peak_gib": program.peak / GIB,
                "arguments_gib": program.arguments / GIB,
                "temporaries_gib": program.temporaries / GIB,
                "outputs_gib": program.outputs / GIB,
                "flops": program.counted.flops,
                "attention_flops": program.counted.attention,
                "kernels": dict(program.counted.kernels),
                "sent_gb": {kind: sent / GB for kind, sent in program.counted.sent.items()},
            }
    if isinstance(plan.training, Program):
        bound = plan.bound()
        out["bound"] = {**bound._asdict(), "seconds": bound.seconds, "by": bound.by}
    return out


def _attention(program: dict[str, Any]) -> str:
    """Returns what is said of a program's attention kernels."""
    flops = program["attention_flops"] / TFLOP
    return f"attention kernels {flops:.1f} TFLOP, of all pairs" if flops else "attention kernels not counted"


def describe(plan: Plan) -> str:
    """Returns a plan in words and numbers, per chip."""
    s, c, how = summary(plan), plan.config, plan.model.compute
    mesh = " x ".join(f"{axis} {size}" for axis, size in s["mesh"].items())
    lines = [
        f"{c.model.path} on {s['chips']} x {s['chip']} ({s['topology']}): mesh {mesh}",
        f"{s['rows']} rows of {s['length']} tokens a step in micro-batches of {s['micro_rows']}; weights "
        f"{c.model.param_dtype}, products {how.product_dtype}, remat {s['remat']}, attention {how.attention}",
        "",
        f"per chip     peak of {s['limit_gib']} GiB   arguments   temporaries   outputs beside them",
    ]
    for name in ("training", "scoring"):
        if name in s and "peak_gib" in s[name]:
            p = s[name]
            lines.append(
                f"{name:10}   {p['peak_gib']:9.2f} GiB   {p['arguments_gib']:9.2f}   {p['temporaries_gib']:11.2f}"
                f"   {p['outputs_gib']:19.2f}"
            )
        elif name in s:
            needs = s[name]["needs_gib"]
            lines.append(f"{name:10}   too large" + (f": needs {needs:.2f} GiB" if needs else ""))
    if "bound" in s:
        b, p = s["bound"], s["training"]
        sent = ", ".join(f"{kind} {gb:.1f}" for kind, gb in sorted(p["sent_gb"].items())) or "none"
        lines += [
            "",
            f"products in the compiled step  {p['flops'] / TFLOP:8.1f} TFLOP, {b['products']:.2f} of the model's own; "
            f"{_attention(p)}",
            f"model FLOPs                    {b['model_flops'] / TFLOP:8.1f} TFLOP",
            f"sent in exchanges              {sum(p['sent_gb'].values()):8.1f} GB ({sent})",
            f"a step takes at least          {b['seconds']:8.2f} s (products {b['compute']:.2f}, memory "
            f"{b['memory']:.2f}, network {b['network']:.2f})",
            f"MFU at most                    {b['mfu']:8.0%}",
            f"({cost.COUNTING_RULE})",
        ]
    return "\n".join([*lines, "", "fits" if plan.fits else "does not fit"])


def _meshes(where: Topology, spec: DecoderSpec, tensors: Sequence[int]) -> Iterator[MeshConfig]:
    """Yields a mesh for each tensor size that divides the chips and the key/value heads."""
    chips = len(where.devices)
    for tensor in tensors:
        if chips % tensor == 0 and spec.kv_heads % tensor == 0:
            yield MeshConfig(data=1, fsdp=chips // tensor, tensor=tensor)


def _step(plan: Plan) -> Program:
    """Returns the compiled train step of a plan that fits."""
    assert not isinstance(plan.training, TooLarge), "a plan that fits"
    return plan.training


def largest(
    config: Config, compile_for: Callable[[Config], Plan], parts: int, row_bytes: int, limit: float
) -> Iterator[Plan]:
    """Yields plans that fit: with the config's micro-batch, and with its multiples by powers of two up to the largest.

    If the config's micro-batch does not fit, it is halved until it does. Compiling takes minutes, so as few plans as
    possible are compiled.

    Args:
      compile_for: makes the plan of a config.
      parts: number of parts that the mesh cuts rows into; the smallest micro-batch.
      row_bytes: the least bytes that the backward pass needs for a row.
      limit: bytes of a chip.
    """

    def plan(rows: int) -> Plan:
        data = dataclasses.replace(config.data, batch_size=rows, micro_batch_size=rows)
        return compile_for(dataclasses.replace(config, data=data))

    def too_large(rows: int, smaller: Plan) -> bool:
        return _step(smaller).arguments + rows // parts * row_bytes > limit

    rows = sharding.rounded_up(config.data.micro_batch_size, parts)
    first = plan(rows)
    if not first.fits:
        while not first.fits and rows > parts:
            rows = max(parts, rows // 2 // parts * parts)
            first = plan(rows)
        if first.fits:
            yield first
        return
    yield first
    if too_large(2 * rows, first) or not (second := plan(2 * rows)).fits:
        return
    yield second
    # memory grows linearly with the rows: start where it meets the limit
    per_row = max(1.0, (_step(second).peak - _step(first).peak) / rows)
    reach, fitting, too_many = rows + (limit - _step(first).peak) / per_row, 2 * rows, math.inf
    rows = fitting * 2 ** max(1, int(math.log2(reach / fitting)))
    while fitting < rows < too_many and not too_large(rows, first):
        candidate = plan(rows)
        if candidate.fits:
            yield candidate
            fitting, rows = rows, 2 * rows
        else:
            too_many, rows = rows, rows // 2


def search(
    config: Config,
    spec: DecoderSpec,
    where: Topology,
    remats: Sequence[Remat] = REMAT,
    tensors: Sequence[int] = TENSORS,
) -> list[Plan]:
    """Returns every plan that fits, over meshes, remat policies and micro-batches."""
    plans = []
    for mesh in _meshes(where, spec, tensors):
        for remat in remats:
            model = dataclasses.replace(config.model, remat=remat)
            cell = dataclasses.replace(config, model=model, mesh=mesh)
            parts, limit = mesh.data * mesh.fsdp, where.limit
            row_bytes = spec.layers * spec.width * config.data.length * 2  # inputs of all layers, bfloat16
            for plan in largest(cell, lambda c: make(c, spec, where, scoring=False), parts, row_bytes, limit):
                console.info(_row(plan))
                plans.append(plan)
    return plans


def _row(plan: Plan) -> str:
    s = summary(plan)
    mesh = "x".join(map(str, s["mesh"].values()))
    per_row = s["bound"]["seconds"] / s["rows"] * 1000
    return (
        f"| {mesh:8} | {s['remat']:5} | {s['micro_rows']:5} | {s['training']['peak_gib']:8.2f} | {per_row:10.1f} | "
        f"{s['bound']['mfu']:6.0%} | {s['bound']['by']:8} |"
    )


HEADER = (
    "| mesh     | remat | rows  | peak GiB | ms per row | MFU <= | bound by |\n"
    "|----------|-------|-------|----------|------------|--------|----------|"
)


def table(plans: list[Plan]) -> str:
    """Returns a Markdown table with a row for each plan."""
    return "\n".join([HEADER, *map(_row, plans)])


def front(plans: list[Plan]) -> list[Plan]:
    """Returns the plans that no other beats in both memory and time per row, fastest first."""

    def key(plan: Plan) -> tuple[float, float]:
        return plan.bound().seconds / (plan.micro_rows * plan.micro_batches), _step(plan).peak

    best, out = float("inf"), []
    for plan in sorted(plans, key=key):
        if _step(plan).peak < best:
            best = _step(plan).peak
            out.append(plan)
    return out


def paste(plan: Plan) -> str:
    """Returns the flags that turn a config into this plan."""
    mesh, c = plan.model.compute.mesh.shape, plan.config
    fields = {f"mesh.{axis}": size for axis, size in mesh.items()} | {
        "model.remat": c.model.remat,
        "data.micro_batch_size": plan.micro_rows,
        "data.batch_size": plan.micro_rows,
    }
    return " ".join(f"--config.{name}={value}" for name, value in fields.items())


def rows(plans: list[Plan]) -> list[dict[str, Any]]:
    """Returns all numbers of each plan, with its whole config, as JSON."""
    return [summary(plan) | {"config": saved.flatten(plan.config)} for plan in plans]


def save(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes JSON lines, one per plan."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
