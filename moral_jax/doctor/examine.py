"""Checks of a config on this machine, and all findings as a table. A UserError inside a check is its finding."""

import contextlib
import dataclasses
import math
import os
import sys
from pathlib import Path

import huggingface_hub
import jax

from moral_jax import sharding
from moral_jax.config import Config, parsing
from moral_jax.doctor import data_set
from moral_jax.doctor import prompts as first_prompts
from moral_jax.doctor.machine import FAIL, GIB, OK, WARN, Check, disk
from moral_jax.doctor.machine import checks as machine_checks
from moral_jax.models import api
from moral_jax.models.attention_choice import choose as choose_attention
from moral_jax.respondents.encode import ModelFiles
from moral_jax.tasks import load
from moral_jax.train import optim
from moral_jax.train.step import abstract_state
from moral_jax.types import UserError
from moral_jax.weights import source
from moral_jax.workflows import earlier, local_model

SMALL_HUB_FILES = [f for f in source.HUB_FILES if not f.endswith(".safetensors")]
REMEDIES = {
    "config": "correct it; python train.py --help lists every field",
    "model": "correct --config.model.path, --config.model.tokenizer or --config.mesh",
    "data": "correct --config.task.path or the row",
    "attention": "leave --config.model.attention out, so that the best one is chosen",
    "prompt": "change --config.prompt.format, labels or answer_prefix",
}


def state_bytes(files: ModelFiles, config: Config) -> tuple[int, int]:
    """Bytes of weights, moments and gradients on one device; bytes of what a checkpoint holds."""
    state = abstract_state(files.model, optim.make(config.optim, 1))
    frozen, _ = api.split(api.abstract_params(files.model), files.model)
    saved = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))
    return sum(map(sharding.held_bytes, (frozen, state, state.params))), saved


def available(device: jax.Device) -> int:
    """Bytes that one device can still take; devices of the host share its memory."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    total = free[0] if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total // jax.local_device_count()


def memory(needed: int, free: int) -> Check:
    found = f"{needed / GIB:.2f} GiB a device for weights, gradients, moments; {free / GIB:.2f} free; activations add"
    remedy = "more devices (config.mesh.fsdp), config.model.param_dtype=bfloat16, or a smaller model"
    if needed > free:
        return Check("memory", FAIL, found, remedy)
    return Check("memory", *((OK, found, "") if needed < 0.7 * free else (WARN, found, remedy)))


def data(dataset: load.Dataset, config: Config) -> Check:
    about = data_set.describe(dataset)
    found = ", ".join(f"{n} {split}" for split, n in about["rows"].items())
    remarks = data_set.warnings(about, config)
    return Check("data", WARN if remarks else OK, found, "; ".join(remarks))


def hub(name: str) -> Check:
    repo, _, revision = name.partition("@")
    try:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision or None, timeout=10)
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError, OSError) as e:
        remedy = "check the name and the network, log in with `hf auth login`, or pass --config.model.path=FOLDER"
        return Check("hub", FAIL, f"{name}: {type(e).__name__}", remedy)
    return Check("hub", OK, f"{name} at {info.sha}", "")


def find_model(config: Config) -> ModelFiles:
    """Finds the model without fetching its weights, or trying the attention, which is a check of its own."""
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, attention="plain"))
    return local_model.find_model(config, SMALL_HUB_FILES)


def model_said(files: ModelFiles) -> Check:
    spec = files.model.spec
    tokens = len(files.tokenizer)
    found = f"{spec.family}, {spec.layers} layers of {spec.width}, vocabulary {spec.vocab}, tokenizer of {tokens}"
    fits = tokens <= spec.vocab
    return Check("model", OK if fits else FAIL, found, "" if fits else "give the model's own config.model.tokenizer")


def prompts(config: Config, files: ModelFiles, dataset: load.Dataset) -> Check:
    """Checks the first rows as the run will ask them: chat template, answer prefix, first tokens of the options."""
    shown = first_prompts.first(config, files, dataset, 4)
    one, cut, head = shown[0], sum(row["cut"] for row in shown), files.model.score_rows
    read = f"a score head of {head}" if head else " | ".join(one["options"].values())
    found = f"{' and '.join(map(str, one['tokens']))} tokens, then {read}"
    if cut:
        remedy = f"raise --config.data.length={config.data.length}, or accept that long texts lose their middle"
        return Check("prompt", WARN, f"{found}; {cut} of the first prompts are cut", remedy)
    return Check("prompt", OK, found, "")


def attention(config: Config, files: ModelFiles) -> Check:
    how, spec = files.model.compute, files.model.spec
    kind = how.mesh.devices.flat[0].platform
    name, why = choose_attention(config.model.attention, kind, spec, how.dtype, config.data.length)
    if why:
        return Check("attention", WARN, f"{name}, because {why}", "change what it names, for speed; the numbers stay")
    return Check("attention", OK, name, "")


def _trouble(name: str, error: UserError) -> Check:
    return Check(name, FAIL, str(error), REMEDIES[name])


def _of_model(config: Config, workdir: Path) -> tuple[list[Check], ModelFiles | None]:
    try:
        files = find_model(config)
    except UserError as e:
        return [_trouble("model", e)], None
    needed, on_disk = state_bytes(files, config)
    checks = [model_said(files), memory(needed, available(jax.local_devices()[0])), disk(workdir, 3 * on_disk)]
    try:
        checks.append(attention(config, files))
    except UserError as e:
        checks.append(_trouble("attention", e))
    return checks, files


def _of_data(config: Config, files: ModelFiles | None) -> list[Check]:
    try:
        dataset = load.load(config.task)
    except UserError as e:
        return [_trouble("data", e)]
    checks = [data(dataset, config)]
    try:
        return [*checks, prompts(config, files, dataset)] if files else checks
    except UserError as e:
        return [*checks, _trouble("prompt", e)]


def _of_config(config: Config, workdir: Path) -> list[Check]:
    checks, files = _of_model(config, workdir)
    root = earlier.root(config, {})
    names = [name for name in (root.path, root.tokenizer) if name and source.is_hub_name(name)]
    return [*map(hub, names), *checks, *_of_data(config, files)]


def examine(flags: list[str], workdir: Path, address: str | None) -> list[Check]:
    """All checks: of the machine, and of the config where `flags` name one."""
    with contextlib.redirect_stdout(sys.stderr):  # rooms that speak while they work must not stand in the table
        checks = machine_checks(address)
        if not flags:
            return [*checks, disk(workdir, GIB)]
        if any(c.name == "devices" and c.state == FAIL for c in checks):
            return checks
        try:
            config = parsing.from_flags(flags)
        except UserError as e:
            return [*checks, _trouble("config", e)]
        return checks + _of_config(config, workdir)


def table(checks: list[Check]) -> str:
    """Aligned, with what to do under each line that is not well."""
    wide = max(len(c.name) for c in checks)
    lines = []
    for c in checks:
        lines.append(f"{c.state:<4}  {c.name:<{wide}}  {c.found}")
        if c.to_do:
            lines.append(f"{'':<4}  {'':<{wide}}  -> {c.to_do}")
    return "\n".join(lines)
