"""Searches for the settings that make the most of a machine (`moral-jax plan --search`).

`search` goes through meshes and remat policies. For each pair `largest` looks for the largest micro-batch that fits. A
compilation takes minutes, so it fits a line through the memory of the first two sizes and starts where the line meets
the limit. `front` then keeps the plans that no other beats in memory and in both bounds on the time. Plans are rows of
numbers, as `run.numbers` returns them: those that a file holds from an earlier search are not compiled again.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from moral_jax import sharding
from moral_jax.config import Config, saved
from moral_jax.config.model import MeshConfig, Remat
from moral_jax.models.spec import Spec
from moral_jax.plan.chips import GIB
from moral_jax.plan.compile import make
from moral_jax.plan.machines import Topology
from moral_jax.plan.run import numbers
from moral_jax.runtime import console
from moral_jax.types import UserError

Row = dict[str, Any]
REMAT: tuple[Remat, ...] = ("full", "dots", "none")
TENSORS = (1, 2, 4)


def _meshes(config: Config, where: Topology, spec: Spec, tensors: Sequence[int]) -> Iterator[MeshConfig]:
    """Yields a mesh for each tensor size that divides a slice's chips and the key/value heads."""
    slices = config.mesh.slices
    chips = len(where.devices) // slices
    for tensor in tensors:
        if chips % tensor == 0 and spec.kv_heads % tensor == 0:
            yield MeshConfig(data=1, fsdp=chips // tensor, tensor=tensor, slices=slices)


def largest(
    config: Config, compile_for: Callable[[Config], Row], parts: int, row_bytes: int, limit: float
) -> Iterator[Row]:
    """Yields plans that fit: with the config's micro-batch, and with its multiples by powers of two up to the largest.

    If the config's micro-batch does not fit, it is halved until it does. Compiling takes minutes, so as few plans as
    possible are compiled.

    Args:
      compile_for: makes the plan of a config.
      parts: number of parts that the mesh cuts rows into; the smallest micro-batch.
      row_bytes: the least bytes that the backward pass needs for a row.
      limit: bytes of a chip.
    """

    def plan(rows: int) -> Row:
        data = dataclasses.replace(config.data, batch_size=rows, micro_batch_size=rows)
        return compile_for(dataclasses.replace(config, data=data))

    def held(row: Row, what: str) -> float:
        return row["training"][f"{what}_gib"] * GIB

    def too_large(rows: int, smaller: Row) -> bool:
        return held(smaller, "arguments") + rows // parts * row_bytes > limit

    rows = sharding.rounded_up(config.data.micro_batch_size, parts)
    first = plan(rows)
    if not first["fits"]:
        while not first["fits"] and rows > parts:
            rows = max(parts, rows // 2 // parts * parts)
            first = plan(rows)
        if first["fits"]:
            yield first
        return
    yield first
    if too_large(2 * rows, first) or not (second := plan(2 * rows))["fits"]:
        return
    yield second
    # memory grows linearly with the rows: start where it meets the limit
    per_row = max(1.0, (held(second, "peak") - held(first, "peak")) / rows)
    reach, fitting, too_many = rows + (limit - held(first, "peak")) / per_row, 2 * rows, math.inf
    rows = fitting * 2 ** max(1, int(math.log2(reach / fitting)))
    while fitting < rows < too_many and not too_large(rows, first):
        candidate = plan(rows)
        if candidate["fits"]:
            yield candidate
            fitting, rows = rows, 2 * rows
        else:
            too_many, rows = rows, rows // 2


def _read(file: Path) -> list[Row]:
    """Returns the rows of an earlier search."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as e:
            raise UserError(f"{file}:{number}: no JSON ({e}); remove the line, or give --json another file") from e
    return rows


def _remembered(make_row: Callable[[Config], Row], where: Topology, file: Path | None) -> Callable[[Config], Row]:
    """Returns `make_row` with a memory: rows of this machine and version of JAX in the file are not made again."""
    here = {"topology": where.name, "jax": jax.__version__}
    known = _read(file) if file and file.exists() else []
    by_config = {json.dumps(row["config"]): row for row in known if here.items() <= row.items()}

    def find(config: Config) -> Row:
        asked = json.dumps(saved.flatten(config))
        if asked not in by_config:
            by_config[asked] = json.loads(json.dumps(make_row(config) | here))
            if file:
                with file.open("a", encoding="utf-8") as f:
                    f.write(json.dumps(by_config[asked]) + "\n")
        return by_config[asked]

    return find


def search(
    config: Config,
    spec: Spec,
    where: Topology,
    remats: Sequence[Remat] = REMAT,
    tensors: Sequence[int] = TENSORS,
    file: Path | None = None,
) -> list[Row]:
    """Returns every plan that fits, over meshes, remat policies and micro-batches.

    Args:
      file: JSON lines of an earlier search that was cut off; what is compiled now is added.
    """
    find = _remembered(lambda c: numbers(make(c, spec, where, scoring=False)), where, file)
    found = []
    for mesh in _meshes(config, where, spec, tensors):
        for remat in remats:
            model = dataclasses.replace(config.model, remat=remat)
            cell = dataclasses.replace(config, model=model, mesh=mesh)
            parts = mesh.slices * mesh.data * mesh.fsdp
            row_bytes = spec.layers * spec.width * config.data.length * 2  # inputs of all layers, bfloat16
            for row in largest(cell, find, parts, row_bytes, where.limit):
                console.info(_row(row))
                found.append(row)
    return found


def seconds_per_row(row: Row) -> tuple[float, float]:
    """Returns the least seconds for one row of tokens: where products hide the exchanges, and where nothing does."""
    bound = row["bound"]
    apart = max(bound["compute"], bound["memory"]) + bound["network"]
    return bound["seconds"] / row["rows"], apart / row["rows"]


def _row(s: Row) -> str:
    mesh = "x".join(map(str, s["mesh"].values()))
    hidden, apart = seconds_per_row(s)
    return (
        f"| {mesh:8} | {s['remat']:5} | {s['micro_rows']:5} | {s['training']['peak_gib']:8.2f} | "
        f"{1000 * hidden:10.1f} | {1000 * apart:20.1f} | {s['bound']['mfu']:6.0%} | {s['bound']['by']:8} |"
    )


HEADER = (
    "| mesh     | remat | rows  | peak GiB | ms per row | nothing overlaps, ms | MFU <= | bound by |\n"
    "|----------|-------|-------|----------|------------|----------------------|--------|----------|"
)


def table(rows: list[Row]) -> str:
    """Returns a Markdown table with a row for each plan."""
    return "\n".join([HEADER, *map(_row, rows)])


def front(rows: list[Row]) -> list[Row]:
    """Returns the plans that no other beats in memory and in both bounds on the time of a row.

    Those come first that are fastest in the middle of the two bounds.
    """

    def cost(row: Row) -> tuple[float, ...]:
        return (*seconds_per_row(row), row["training"]["peak_gib"])

    def beats(a: Row, b: Row) -> bool:
        return cost(a) != cost(b) and all(x <= y for x, y in zip(cost(a), cost(b), strict=True))

    unbeaten = [row for row in rows if not any(beats(other, row) for other in rows)]
    return sorted(unbeaten, key=lambda row: sum(seconds_per_row(row)))


# not the rows of a step: those change what is learned, and are rounded up to whole micro-batches
PASTED = ("mesh.data", "mesh.fsdp", "mesh.tensor", "model.remat", "data.micro_batch_size")


def paste(row: Row) -> str:
    """Returns the flags that turn a config into this plan."""
    return " ".join(f"--config.{name}={row['config'][name]}" for name in PASTED)
