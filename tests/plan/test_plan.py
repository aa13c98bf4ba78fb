"""Plans: the compiler's program for a slice that is not here is the one that we mean, and is counted right."""

import dataclasses
import functools
import importlib.util
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import sharding
from moral_jax.cli import main
from moral_jax.config import Config, parsing, saved
from moral_jax.config.model import AdapterConfig, MeshConfig, ModelConfig
from moral_jax.config.train import DataConfig
from moral_jax.models import api
from moral_jax.models.families import from_hf
from moral_jax.plan import chips, cost, hlo, machines, memory, search
from moral_jax.plan import compile as plans
from moral_jax.plan import run as plan
from moral_jax.types import UserError
from moral_jax.weights.published import CONFIGS
from moral_jax.workflows.local_model import make_model
from tests.helpers import tiny

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler is missing: pip install -e '.[plan]'"
)
SPEC = tiny.spec(
    vocab=512, layers=4, width=256, heads=8, kv_heads=4, head_size=128, mlp_width=512, tied_embeddings=False
)
CONFIG = Config(
    model=ModelConfig(dtype="bfloat16", remat="full"),
    data=DataConfig(length=256, questions_per_row=4, batch_size=8, micro_batch_size=4),
)


@pytest.fixture(scope="module")
def made():
    return plans.make(CONFIG, SPEC, machines.topology("v5e:2x2"), scoring=True)


@needs_libtpu
def test_the_compiled_program_is_the_one_we_mean(made):
    """The splash kernel forward and backward, exchanges, and weights cut over the chips."""
    assert made.fits
    kernels = made.training.counted.kernels
    assert {name.removesuffix("_residuals").removesuffix("_no") for name in kernels} == {
        "splash_mqa_fwd", "splash_mqa_dq", "splash_mqa_dkv"
    }  # fmt: skip
    assert "splash_mqa_fwd" in made.scoring.text
    assert sum(made.training.counted.sent.values()) > 0
    assert made.training.counted.unknown_loops == 0
    L, D, F = SPEC.layers - 1, SPEC.width, SPEC.mlp_width  # the last layer lies alone
    assert f"f32[{L},{D // 4},{F}]" in made.training.text  # gate's kernel, a fourth of it
    assert f"f32[{L},{D},{F}]" not in made.training.text


@needs_libtpu
def test_kernels_run_once_per_row_layer_and_micro_batch(made):
    """Two micro-batches of one row per chip; remat runs the forward kernel again in the backward pass."""
    runs = made.training.counted.kernels
    once = 2 * (SPEC.layers - 1)  # the last layer has queries at the answers alone, and needs no kernel
    assert {name: times / once for name, times in runs.items() if "fwd" not in name} == {
        name: 1.0 for name in runs if "fwd" not in name
    }
    assert sum(times for name, times in runs.items() if "fwd" in name) == 2 * once


@needs_libtpu
def test_products_are_those_of_the_model(made):
    """Forward, recomputed, and twice that backward: between 3 and 4 forward passes, exchanged or not."""
    tokens = made.micro_rows * made.micro_batches * CONFIG.data.length / 4
    forward = 2 * cost.layer_weights(SPEC) * tokens
    assert 2.9 * forward < made.training.counted.flops < 4.2 * forward


@pytest.fixture(scope="module")
def two_slices():
    config = dataclasses.replace(CONFIG, model=ModelConfig(dtype="bfloat16", remat="none"), mesh=MeshConfig(slices=2))
    return plans.make(config, SPEC, machines.topology("v6e:2x2", 2), scoring=False)


@needs_libtpu
def test_nothing_is_computed_that_the_loss_does_not_need(two_slices):
    """Without remat: fewer products than the model has, because the last layer is computed at the answers only."""
    assert 0.75 < two_slices.bound().products <= 1.05


@needs_libtpu
def test_two_slices_exchange_gradients_and_gather_weights_within(two_slices):
    """Weights are cut within a slice and the same in both."""
    made = two_slices
    assert dict(made.model.compute.mesh.shape) == {"data": 2, "fsdp": 4, "tensor": 1}
    assert made.fits
    gathers = re.findall(r" all-gather(?:-start)?\(.*replica_groups=(\{.*?\}\}|\S+?),", made.training.text)
    assert set(gathers) == {"{{0,1,2,3}}"}  # chips of this chip's own slice
    gradients = sum(math.prod(x.shape) for x in jax.tree.leaves(api.abstract_params(made.model)["decoder"]))
    of_chip = gradients / 4
    # every gradient of the chip's part at least once in bfloat16, at most in float32 for each micro-batch
    most = 4 * made.micro_batches
    assert 2 * of_chip <= made.training.counted.sent[hlo.BETWEEN_SLICES] <= most * of_chip


@needs_libtpu
def test_tensor_cuts_heads_too_and_what_is_held_beside_frozen_weights():
    """On another generation, whose kernels are the same."""
    frozen = METHODS["lora, rank 128, nf4"]
    frozen = dataclasses.replace(frozen, model=dataclasses.replace(frozen.model, attention="splash"))
    config = dataclasses.replace(frozen, mesh=MeshConfig(fsdp=2, tensor=2))
    made = plans.make(config, SPEC, machines.topology("v5p:2x2x1"), scoring=False)
    assert made.fits
    assert len(made.training.counted.kernels) == 3
    assert f"u8[{SPEC.layers - 1},{SPEC.width // 2 // 2},{SPEC.mlp_width // 2}]" in made.training.text
    assert_held(config, made)


@needs_libtpu
@pytest.mark.parametrize("slices", [1, 2])
def test_an_axis_may_be_a_part_of_a_ring(slices):
    """A slice of 4x4 has no ring of two chips; two neighbours of a ring of four are an axis of two."""
    devices = machines.topology("v5e:4x4", slices).devices
    mesh = sharding.make_mesh(MeshConfig(data=1, fsdp=-1, tensor=2, slices=slices), devices)
    assert mesh.devices.shape == (slices, 8, 2)
    for a, b in mesh.devices.reshape(-1, 2):
        apart = np.subtract(a.coords, b.coords)
        assert np.abs(apart).sum() == 1
        assert getattr(a, "slice_index", 0) == getattr(b, "slice_index", 0)


@needs_libtpu
def test_what_does_not_fit_says_so(capsys):
    huge = dataclasses.replace(SPEC, layers=4, width=8192, heads=64, kv_heads=8, mlp_width=28672, vocab=128256)
    config = dataclasses.replace(CONFIG, model=ModelConfig(dtype="bfloat16", remat="none"))
    made = plans.make(config, huge, machines.topology("v5e:2x2"), scoring=False)
    assert not made.fits
    assert made.training.needs > 16 * 2**30
    assert "does not fit" in plan.describe(made)


@needs_libtpu
def test_the_command_prints_what_fits(tiny_folder, tmp_path, capsys):
    arguments = ["plan", "--config=configs/scruples/mistral_7b_dilemmas.py:tiny", "--topology=v5e:2x2",
                 f"--config.model.path={tiny_folder}", f"--json={tmp_path / 'plan.jsonl'}"]  # fmt: skip
    assert main.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "4 x TPU v5e (v5e:2x2): mesh data 1 x fsdp 4 x tensor 1" in shown
    assert shown.rstrip().endswith("fits")
    assert "MFU at most" in shown
    assert (tmp_path / "plan.jsonl").read_text().startswith("{")


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "v5e:2x", "cpu"])
def test_a_topology_that_is_none_is_an_error(name):
    with pytest.raises(UserError, match="expected GENERATION:SHAPE like v5e:4x4 "):
        machines.topology(name)


def test_a_missing_compiler_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'moral-jax\[plan\]'"):
        machines.topology("v5e:2x2")


def test_loops_are_counted():
    """A scan of 7 products of [8, 16] x [16, 16]: the compiler's own analysis would count one."""

    def f(x, w):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=7)[0]

    text = jax.jit(f).lower(jnp.ones((8, 16)), jnp.ones((16, 16))).compile().as_text()
    assert hlo.count(text).flops == pytest.approx(7 * 2 * 8 * 16 * 16)


def test_exchanges_are_counted():
    """A sum over eight devices of 1,000 floats: each sends 2 * 7/8 of it."""
    mesh = tiny.mesh(1, 8, 1)
    cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    text = (
        jax.jit(lambda x: x.sum(0), in_shardings=cut, out_shardings=whole)
        .lower(jnp.ones((8, 1000)))
        .compile()
        .as_text()
    )
    assert hlo.count(text).sent == {"all-reduce": pytest.approx(2 * 7 / 8 * 4000)}


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("%a = bf16[16,8]{1,0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}", 16 * 8 * 2 * 3 / 4),
        ("%a = f32[4,8]{1,0} reduce-scatter(%x), replica_groups={{0,1},{2,3}}, dimensions={0}", 4 * 8 * 4 * 1),
        ("%a = (f32[4]{0}, f32[4]{0}) collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}", 16),
    ],
)
def test_bytes_of_an_exchange(line, sent):
    assert hlo.count(f"ENTRY %main (x: f32[]) -> f32[] {{\n  {line}\n}}\n").sent.popitem()[1] == sent


@pytest.mark.parametrize(
    ("fits", "parts", "found", "compiled"),
    [
        (31, 4, [16], [16, 32]),
        (200, 4, [16, 32, 128], [16, 32, 128, 256]),  # from 32 straight to where the line meets the limit
        (8, 4, [8], [16, 8]),
        (15, 12, [12], [24, 12]),
        (3, 4, [], [16, 8, 4]),
    ],
)
@pytest.mark.parametrize("bend", [0, 40])
def test_the_largest_micro_batch_is_looked_for_from_the_configs_own(fits, parts, found, compiled, bend):
    """What does not fit for its layers' inputs alone is not compiled; a guess too high is taken back."""
    asked = []

    def compile_for(config):
        rows = asked.append(config.data.micro_batch_size) or asked[-1]
        peak = 1000 + 10 * rows + (bend if rows > 100 else 0) * rows
        held = {"arguments_gib": 1000 / 2**30, "peak_gib": peak / 2**30}
        return {"micro_rows": rows, "fits": peak <= 1000 + 10 * fits, "training": held}

    config = Config(data=DataConfig(micro_batch_size=16, batch_size=16))
    for row_bytes, skipped in ((10 * parts, True), (1, False)):
        asked.clear()
        plans = [p["micro_rows"] for p in search.largest(config, compile_for, parts, row_bytes, 1000 + 10 * fits)]
        if bend and fits == 200:
            assert (plans, asked) == ([16, 32, 64], [16, 32, 128, 64])
        else:
            sure = [rows for rows in compiled if not (skipped and rows > max(fits, compiled[0]))]
            assert (plans, asked) == (found, sure)


def test_the_front_is_what_nothing_beats_in_time_for_a_row_and_memory():
    """A plan of many rows takes longer for a step, and less for a row."""

    def made(name, seconds, rows, peak, network=0.0):
        bound = {"seconds": seconds, "compute": seconds, "memory": 0.0, "network": network}
        return {"name": name, "rows": rows, "training": {"peak_gib": peak}, "bound": bound}

    plans = [
        made("small", 1.0, 1, 10), made("large", 8.0, 16, 40, 8.0), made("beaten", 7.0, 8, 50),
        made("split", 8.0, 12, 20), made("as slow, larger", 2.0, 2, 30), made("sends less", 8.0, 16, 60, 2.0),
        made("as fast, sends more", 4.0, 8, 60, 4.0),
    ]  # fmt: skip
    assert [p["name"] for p in search.front(plans)] == ["sends less", "split", "large", "small"]


def test_a_search_goes_on_from_its_file(tmp_path, monkeypatch):
    """Cut off after two plans: they are read, not compiled again; another machine's are not taken."""
    compiled, file = [], tmp_path / "search.jsonl"
    where = machines.Topology("v5e:2x2", chips.CHIPS["v5e"], [None] * 4)

    def numbers(config):
        if len(compiled) == most:
            raise KeyboardInterrupt
        compiled.append((config.model.remat, config.data.micro_batch_size))
        rows = config.data.micro_batch_size
        held = {"arguments_gib": 1.0, "peak_gib": 1 + rows * (1 if config.model.remat == "full" else 2)}
        return {"mesh": {"fsdp": 4}, "remat": config.model.remat, "rows": rows, "micro_rows": rows, "training": held,
                "bound": {"seconds": float(rows), "compute": float(rows), "memory": 0.0, "network": 0.5, "mfu": 0.5,
                          "by": "compute"}, "fits": held["peak_gib"] <= 16,
                "config": saved.flatten(config)}  # fmt: skip

    monkeypatch.setattr(search, "make", lambda config, spec, where, scoring: config)
    monkeypatch.setattr(search, "numbers", numbers)
    look = functools.partial(search.search, CONFIG, SPEC, where, ("full", "none"), (1,), file)
    most = 2
    with pytest.raises(KeyboardInterrupt):
        look()
    most = 99
    found = look()
    assert compiled == [("full", 4), ("full", 8), ("full", 16), ("none", 4), ("none", 8)]
    assert [(row["remat"], row["micro_rows"]) for row in found] == [("full", 4), ("full", 8), ("none", 4)]
    assert look() == found
    assert len(compiled) == 5
    assert search.paste(found[1]).endswith(" --config.data.micro_batch_size=8")
    search.search(CONFIG, SPEC, dataclasses.replace(where, name="v5e:1x4"), ("full",), (1,), file)
    assert len(compiled) == 8


def test_a_file_of_a_search_that_is_torn_is_named(tmp_path):
    (tmp_path / "torn").write_text('{"a": 1}\n{"b": ')
    where = machines.Topology("v5e:2x2", chips.CHIPS["v5e"], [None] * 4)
    with pytest.raises(UserError, match="torn:2: no JSON .*remove the line"):
        search.search(CONFIG, SPEC, where, file=tmp_path / "torn")


def test_model_flops_by_hand():
    """Mistral 7B: 6,979,321,856 weights in layers' matrices; attention over a row of 2,048."""
    spec = from_hf(CONFIGS["mistralai/Mistral-7B-Instruct-v0.3"])
    assert cost.layer_weights(spec) == 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    want = 6 * 2048 * (cost.layer_weights(spec) + 32 * 4096 * 2048)
    assert cost.model_flops(spec, 2048, 2048, frozen=False) == want
    head = 6 * 2048 * 4096 * 32768
    assert cost.model_flops(spec, 2048, 2048, frozen=False, texts=True) == want + head


def test_model_flops_beside_frozen_weights():
    """No gradient of frozen weights; below the first of 4 layers that has an adapter, nothing but the forward pass."""
    per_layer = cost.layer_weights(SPEC) / 4
    attention = SPEC.heads * SPEC.head_size * 256
    want = 10 * (4 * 4 * per_layer + 4 * 6 * attention)
    assert cost.model_flops(SPEC, 10, 256, frozen=True) == want
    want = 10 * (3 * (2 * per_layer + 2 * attention) + 4 * per_layer + 6 * attention)
    assert cost.model_flops(SPEC, 10, 256, frozen=True, frozen_layers=3) == want


def test_the_reference_of_reinforcement_learning_is_counted():
    """A copy as scoring has it, matrices in bfloat16, where a KL divergence is weighed and all weights are trained."""
    config = parsing.from_flags(["--config=rl/grpo", "--config.model.dtype=bfloat16"])
    mesh = tiny.mesh(1, 1, 1)

    def held(*flags, task="rl/grpo"):
        config = parsing.from_flags([f"--config={task}", "--config.model.dtype=bfloat16", *flags])
        return plans.reference_bytes(config, make_model(config, SPEC, mesh))

    others = 2 * SPEC.vocab * SPEC.width + (2 * SPEC.layers + 1) * SPEC.width  # embeddings and norms
    assert held() == 2 * cost.layer_weights(SPEC) + 4 * others
    assert held("--config.objective.kl_weight=0") == 0
    assert held("--config.adapter.kind=lora") == 0
    assert held(task="preferences/dpo") == 0
    size = plans.Program(10 * 2**30, 0, 0, 0, hlo.Counted(flops=1.0), "")
    where = machines.Topology("v5e:2x2", chips.CHIPS["v5e"], [None] * 4)
    made = plans.Plan(config, where, make_model(config, SPEC, mesh), 4, 1, size, None, reference=6 * 2**30)
    assert made.fits
    assert not dataclasses.replace(made, reference=6 * 2**30 + 1).fits
    said = plan.describe(made)
    assert "reference         6.00 GiB" in said
    assert "a model that rewards" in said


METHODS = memory.methods(dataclasses.replace(CONFIG, adapter=AdapterConfig(kind="lora", rank=128)), SPEC)


def assert_held(config, made):
    """Weights, moments and batch are what the compiler says that the training program takes."""
    held = memory.held(config, SPEC, made.model.compute.mesh)
    batch = sharding.held_bytes(plans.abstract_batch(made.model, config, made.micro_rows, made.micro_batches))
    assert held.weights + held.moments + batch == pytest.approx(made.training.arguments, rel=0.02)


@needs_libtpu
def test_what_is_held_is_what_the_compiler_says(made):
    assert_held(METHODS["full, float32"], made)


def test_held_by_hand():
    """One chip, two layers of one matrix each beside norms and embeddings: weights, sums of gradients, two moments."""
    spec = tiny.spec(layers=2, width=64, mlp_width=128, head_size=16, heads=4, kv_heads=4, vocab=100)
    config = dataclasses.replace(CONFIG, adapter=AdapterConfig(kind="lora", rank=2, targets="q_proj"))
    mesh = tiny.mesh(1, 1, 1)
    matrices, others = 2 * (4 * 64 * 64 + 3 * 64 * 128), 100 * 64 + 5 * 64
    adapters = 2 * 2 * (64 + 64)
    counters = 2 * 2 * 4  # of both parts of the optimizer: AdamW's steps and the schedule's
    want = {
        "full, float32": (4 * (matrices + others), matrices + others),
        "full, bfloat16": (2 * (matrices + others), matrices + others),
        "lora, rank 2, bfloat16": (2 * (matrices + others) + 4 * adapters, adapters),
        "lora, rank 2, int8": (matrices + 2 * 4 * (6 * 64 + 2 * 128 - 64) + 2 * others + 4 * adapters, adapters),
        "lora, rank 2, nf4": (matrices // 2 + matrices // 64 * 4 + 2 * others + 4 * adapters, adapters),
    }
    got = {name: memory.held(c, spec, mesh) for name, c in memory.methods(config, spec).items()}
    assert set(got) == set(want)
    for name, (weights, trained) in want.items():
        assert got[name] == (weights, 4 * trained, 8 * trained + counters, trained), name


@needs_libtpu
def test_the_command_prints_the_memory_of_every_method(capsys):
    arguments = ["plan", "--config=configs/scruples/mistral_7b_dilemmas.py:v5e-16", "--topology=v5e:4x4", "--memory"]
    assert main.main(arguments) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    totals = {row[1].strip(): float(row[-2]) for row in rows}
    assert list(totals) == list(memory.methods(Config(), SPEC))
    assert totals["full, float32"] == pytest.approx(16 * 7.248e9 / 16 / 2**30, rel=0.001)
    assert list(totals.values()) == sorted(totals.values(), reverse=True)


def test_the_bound_is_that_of_the_scarcest_resource():
    class Sizes:
        arguments, outputs, temporaries = 10 * 10**9, 10**9, 5 * 10**9
        counted = hlo.Counted(flops=2.75e14, sent={"all-gather": 27e9})

    b = cost.bound(Sizes, SPEC, 1000, 256, 4, chips.CHIPS["v4"], frozen=False)
    assert (b.compute, b.by) == (1.0, "compute")
    assert b.memory == pytest.approx(21e9 / 1.228e12)
    assert b.network == pytest.approx(0.1)
    assert b.mfu == pytest.approx(cost.model_flops(SPEC, 1000, 256, frozen=False) / 4 / 275e12)


@pytest.mark.parametrize("name", [n for n in CONFIGS if "7B-Instruct-v0.3" in n or "zephyr" in n or "3.1-8B" in n])
def test_published_configs_are_read(name):
    spec = from_hf(CONFIGS[name])
    assert (spec.layers, spec.width, spec.kv_heads) == (32, 4096, 8)
    window, turn = spec.kinds[0]
    assert (turn.scaling is not None) == ("Llama" in name)
    assert window == (4096 if "zephyr" in name else None)
