"""Plans one config on one machine (`moral-jax plan`): numbers of a compiled program, and how they are said."""

import json
from pathlib import Path
from typing import Any

from moral_jax.config import Config, saved
from moral_jax.models.families import from_hf
from moral_jax.models.spec import Spec
from moral_jax.plan import cost
from moral_jax.plan.chips import GIB
from moral_jax.plan.compile import Plan, Program, TooLarge
from moral_jax.runtime import console
from moral_jax.tasks import registry
from moral_jax.types import UserError
from moral_jax.weights import load, source
from moral_jax.weights.published import CONFIGS
from moral_jax.workflows import earlier

GB, TFLOP = 1e9, 1e12


def read_spec(path: str) -> Spec:
    """Returns the spec in a model's `config.json`; without a network, that of the published copy in this package."""
    if path not in CONFIGS:
        return load.read_spec(source.resolve(path))
    try:
        return load.read_spec(source.resolve(path, hub_files=["config.json"]))
    except UserError as e:
        console.info(f"{path}: could not be fetched ({e}); planning with the config.json that its makers published")
        return from_hf(CONFIGS[path], path)


def files_of(config: Config) -> str:
    """Returns the name of a model's files; of a run (run:DIR), those in front of it."""
    return earlier.root(config, {}).path


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
        "reference_gib": plan.reference / GIB,
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
    if plan.reference:
        lines.append(f"reference    {s['reference_gib']:9.2f} GiB   held beside training, and counted where it fits")
    if registry.get(c.task.name).kind == "prompts":
        lines.append("a model that rewards, and the sampler's cache (--sample), are held too, and not counted")
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


def numbers(plan: Plan) -> dict[str, Any]:
    """Returns all numbers of a plan, with its whole config, as JSON."""
    return summary(plan) | {"config": saved.flatten(plan.config)}


def save(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes JSON lines, one per plan."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
