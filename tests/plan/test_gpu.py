"""Plans for GPUs: the compiler's program for machines that are not here has the kernels and exchanges that we mean."""

import dataclasses
import importlib.util
import math
from types import SimpleNamespace

import jax
import pytest

from moral_jax.cli import main
from moral_jax.config.model import MeshConfig, ModelConfig
from moral_jax.models import api
from moral_jax.plan import chips, hlo, machines
from moral_jax.plan import compile as plans
from moral_jax.plan import run as plan
from moral_jax.runtime.jax_setup import GPU_SHARE
from moral_jax.types import UserError
from tests.plan.test_plan import CONFIG, SPEC

HAS_COMPILER = importlib.util.find_spec("jax_cuda12_plugin") and jax.__version_info__ >= machines.GPU_JAX
needs_gpu_compiler = pytest.mark.skipif(
    not HAS_COMPILER, reason="the GPU compiler is missing: Python 3.12, pip install -e '.[plan-gpu]'"
)
FORWARD, BACKWARD = "cudnn$fmhaScaleBiasSoftmax", "cudnn$fmhaScaleBiasSoftmaxBackward"
SMALL = dataclasses.replace(SPEC, layers=3)


@pytest.fixture(scope="module")
def one():
    return plans.make(CONFIG, SMALL, machines.topology("h100:1"), scoring=True)


@needs_gpu_compiler
def test_one_gpu_attends_by_cudnn_forward_and_backward(one):
    """Two micro-batches; remat runs the forward kernel again; the last layer needs none."""
    assert one.fits
    once = 2 * (SMALL.layers - 1)
    assert one.training.counted.kernels == {FORWARD: 2 * once, BACKWARD: once}
    assert "__cudnn$fmhaScaleBiasSoftmax" in one.scoring.text
    assert one.training.counted.sent == {}
    assert one.training.counted.unknown_loops == 0


@needs_gpu_compiler
def test_attention_is_counted_and_said_apart_from_products(one):
    """Of each of 4 rows of 256, all pairs: 2 products forward, twice as of remat, and 5 backward."""
    pairs = 2 * (SMALL.layers - 1) * 4 * SMALL.heads * 256 * 256
    assert one.training.counted.attention == (2 * 2 + 5) * 2 * pairs * SMALL.head_size
    said = plan.describe(one)
    assert "1 x NVIDIA H100 80GB HBM3 (h100:1)" in said
    assert "attention cudnn" in said
    assert "of all pairs" in said


@needs_gpu_compiler
def test_products_are_those_of_the_model_on_a_gpu_too(one):
    """The layers but the last are computed forward, again, and twice that backward; the last at the answers only."""
    per_layer = plans.cost.layer_weights(SMALL) / SMALL.layers
    whole = 2 * per_layer * one.micro_rows * one.micro_batches * CONFIG.data.length
    assert 4 * (SMALL.layers - 1) * whole < one.training.counted.flops < 4 * SMALL.layers * whole


@pytest.fixture(scope="module")
def eight():
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, micro_batch_size=8))
    return plans.make(config, SMALL, machines.topology("h100:8"), scoring=False)


@needs_gpu_compiler
def test_eight_gpus_gather_weights_and_scatter_gradients(eight):
    made = eight
    assert dict(made.model.compute.mesh.shape) == {"data": 1, "fsdp": 8, "tensor": 1}
    assert set(made.training.counted.kernels) == {FORWARD, BACKWARD}
    L, D, F = SMALL.layers - 1, SMALL.width, SMALL.mlp_width
    assert f"f32[{L},{D // 8},{F}]" in made.training.text  # gate's kernel, an eighth of it
    assert f"f32[{L},{D},{F}]" not in made.training.text
    sent = made.training.counted.sent
    weights = 2 * plans.cost.layer_weights(SMALL) * 7 / 8  # bytes in bfloat16 that come from the others
    # gathered forward and backward; the compiler may keep those of the last layer, which lies alone
    assert 1.6 * weights < sent["all-gather"] < 3 * weights
    assert weights < sent["reduce-scatter"] + sent.get("all-reduce", 0) < 3 * weights
    assert not any(kind.endswith(hlo.BETWEEN_MACHINES) for kind in sent)


@needs_gpu_compiler
def test_between_machines_only_gradients_are_exchanged():
    """Two machines of two: a copy of the model in each."""
    config = dataclasses.replace(CONFIG, model=ModelConfig(dtype="bfloat16"), mesh=MeshConfig(slices=2))
    made = plans.make(config, SMALL, machines.topology("h100:2", 2), scoring=False)
    assert made.topology.name == "2 x h100:2"
    assert dict(made.model.compute.mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 1}
    sent = made.training.counted.sent
    between = {kind: n for kind, n in sent.items() if kind.endswith(hlo.BETWEEN_MACHINES)}
    assert set(between) == {"all-reduce" + hlo.BETWEEN_MACHINES}
    of_chip = sum(math.prod(x.shape) for x in jax.tree.leaves(api.abstract_params(made.model)["decoder"])) / 2
    assert 2 * of_chip <= sum(between.values()) <= 4 * made.micro_batches * of_chip
    assert made.training.counted.sent_within == sum(sent.values()) - sum(between.values())


@needs_gpu_compiler
def test_what_a_gpu_has_no_room_for_does_not_fit(one):
    """The GPU compiler does not refuse it: the peak is compared with the limit. A square of 16 GiB and its product."""
    where = machines.topology("4090:1")
    on = jax.sharding.SingleDeviceSharding(where.devices[0])
    square = jax.ShapeDtypeStruct((2**16, 2**16), "float32", sharding=on)
    refused = plans.compiled(jax.jit(lambda x: x @ x).lower(square), where)
    assert refused == plans.TooLarge(2 * 2**34)
    made = dataclasses.replace(one, topology=where, training=refused)
    assert not made.fits
    said = plan.describe(made)
    assert "too large: needs 32.00 GiB" in said
    assert said.endswith("does not fit")


@needs_gpu_compiler
def test_float32_attends_plainly_and_cudnn_is_refused_for_it():
    config = dataclasses.replace(CONFIG, model=ModelConfig(dtype="float32"))
    where = machines.topology("l4:1")
    assert plans.model_on(config, SMALL, where).compute.attention == "plain"
    asked = dataclasses.replace(config, model=ModelConfig(dtype="float32", attention="cudnn"))
    with pytest.raises(UserError, match="cudnn needs config.model.dtype='bfloat16'"):
        plans.model_on(asked, SMALL, where)


@needs_gpu_compiler
def test_what_cudnn_refuses_attends_plainly():
    odd, where = dataclasses.replace(SMALL, head_size=12), machines.topology("l4:1")
    assert plans.model_on(CONFIG, odd, where).compute.attention == "plain"
    asked = dataclasses.replace(CONFIG, model=ModelConfig(dtype="bfloat16", attention="cudnn"))
    with pytest.raises(UserError, match="config.model.attention='cudnn': cuDNN refuses it .*head dim"):
        plans.model_on(asked, odd, where)


@needs_gpu_compiler
def test_the_command_plans_for_a_gpu(capsys):
    """Full fine-tuning in float32: 16 bytes for each of 7.2 billion weights, on eight GPUs."""
    assert main.main(["plan", "--config=scruples/mistral_7b_dilemmas:gpu-80gb-8", "--topology=a100:8", "--memory"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| full, float32")]
    assert [float(row[-2]) for row in rows] == [pytest.approx(16 * 7.248e9 / 8 / 2**30, rel=0.001)]


@pytest.mark.parametrize("name", ["h100", "h100:", "h100:0x", "h100:1x2x8", "4090:2x", "h800:8"])
def test_a_machine_that_is_none_is_an_error(name):
    with pytest.raises(UserError, match=r"GPU:MACHINESxCOUNT like h100:8 or h100:2x8 \(h100, h200, a100, l4, 4090\)"):
        machines.topology(name)


@pytest.mark.parametrize(("missing", "version"), [(True, (0, 12, 0)), (False, (0, 11, 2))])
def test_a_missing_or_old_gpu_compiler_names_the_extra(monkeypatch, missing, version):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing else name)
    monkeypatch.setattr(jax, "__version_info__", version)
    with pytest.raises(UserError, match=r"pip install 'moral-jax\[plan-gpu\]'.*Python 3.12.*no GPU"):
        machines.topology("h100:8")


@pytest.mark.parametrize(
    ("name", "slices", "described"),
    [("h100:8", 1, "1x1x8"), ("h100:2x8", 1, "1x2x8"), ("h100:8", 2, "1x2x8"), ("h100:2x8", 3, "1x6x8")],
)
def test_each_slice_of_gpus_is_as_many_machines(monkeypatch, name, slices, described):
    """No compiler is needed to see what it is asked for."""
    asked = {}
    monkeypatch.setattr(machines, "_check_compiler", lambda chip: None)
    monkeypatch.setattr(
        machines.topologies, "get_topology_desc", lambda **given: asked.update(given) or SimpleNamespace(devices=[])
    )
    machines.topology(name, slices)
    assert asked["topology"] == described


def test_a_gpu_is_described_by_its_data_sheet():
    """The H100's, as the card itself reports it."""
    described = chips.target(chips.CHIPS["h100"])
    for said in ("core_count: 132", "fpus_per_core: 128", "shared_memory_per_core: 233472", "l2_cache_size: 52428800",
                 "shared_memory_per_block_optin: 232448", "memory_bandwidth: 3352000000000", "clock_rate_ghz: 1.98",
                 "device_memory_size: 84929347584", "{ major: 9  minor: 0 }", '"NVIDIA H100 80GB HBM3"'):  # fmt: skip
        assert said in described


def test_a_gpus_limit_is_the_share_that_a_process_takes():
    for chip in (chip for chip in chips.CHIPS.values() if chip.gpu):
        assert chip.hbm_gib == pytest.approx(GPU_SHARE * chip.gpu.memory / 2**30, abs=0.05)
    assert chips.CHIPS["h100"].hbm_gib == 72.8


@pytest.mark.parametrize(
    ("groups", "together", "kind"),
    [
        ("replica_groups=[2,4]<=[8]", 4, "all-reduce"),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 4, "all-reduce between machines"),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 8, "all-reduce"),
        ("replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}", 4, "all-reduce"),
        ("replica_groups=mesh['data'=2,'fsdp'=4] {'data'}", 4, "all-reduce between machines"),
        ("replica_groups={{0,4},{1,5}}", 4, "all-reduce between machines"),
        ("replica_groups={{0,4},{1,5}}", None, "all-reduce"),
    ],
)
def test_an_exchange_between_machines_is_told_by_its_groups(groups, together, kind):
    text = f"ENTRY %main (x: f32[]) -> f32[] {{\n  %a = f32[100]{{0}} all-reduce(%x), {groups}, to_apply=%add\n}}\n"
    [(found, _)] = hlo.count(text, together).sent.items()
    assert found == kind


def test_a_permutation_between_machines_is_told_by_its_farthest_pair():
    line = "%a = f32[100]{0} collective-permute(%x), source_target_pairs={{0,0},{1,4},{4,1},{5,5}}"
    text = f"ENTRY %main (x: f32[]) -> f32[] {{\n  {line}\n}}\n"
    assert hlo.count(text, 4).sent == {"collective-permute between machines": 400}
    assert hlo.count(text, 8).sent == {"collective-permute": 400}


@pytest.mark.parametrize(
    ("line", "sent"),
    [  # several arrays are exchanged at once
        ("%a = ((f32[1,8]{1,0}, f32[3]{0}), (f32[4,8]{1,0}, f32[12]{0})) all-gather-start(%x, %y), "
         "replica_groups=[2,4]<=[8]", 4 * (32 + 12) * 3 / 4),
        ("%a = (f32[4]{0}, f32[8]{0}) all-reduce(%x, %y), replica_groups=[2,4]<=[8]", 2 * 4 * (4 + 8) * 3 / 4),
        ("%a = ((f32[8]{0}), f32[2]{0}) reduce-scatter-start(%x), replica_groups=[2,4]<=[8]", 4 * 2 * 3),
        ("%a = (f32[2]{0}, f32[8]{0}) all-gather-start(%x), replica_groups=[2,4]<=[8]", 4 * 8 * 3 / 4),
    ],
)  # fmt: skip
def test_bytes_of_several_arrays_at_once(line, sent):
    assert hlo.count(f"ENTRY %main (x: f32[]) -> f32[] {{\n  {line}\n}}\n").sent.popitem()[1] == sent


def test_products_and_attention_in_calls_of_libraries_are_counted():
    """[4, 8] x [8, 16] in two batches by cuBLAS; cuDNN's q of 2 rows, 8 queries, 4 heads of 16, and as many keys."""
    text = """ENTRY %main (a: f32[2,4,8], b: f32[2,8,16]) -> f32[] {
  %a = bf16[2,4,8]{2,1,0} parameter(0)
  %b = bf16[2,8,16]{2,1,0} parameter(1)
  %q = bf16[2,8,4,16]{3,2,1,0} parameter(2)
  %k = bf16[2,8,2,16]{3,2,1,0} parameter(3)
  %c = (bf16[2,4,16]{2,1,0}, s8[99]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"lhs_batch_dimensions":["0"]}}}
  %f = (bf16[2,4,8,16]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), custom_call_target="__cudnn$fmhaScaleBiasSoftmax"
  %g = (bf16[2,4,8,16]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), custom_call_target="__cudnn$fmhaScaleBiasSoftmaxBackward"
}
"""  # noqa: E501
    counted = hlo.count(text)
    assert counted.flops == pytest.approx(2 * 2 * 4 * 8 * 16)
    assert counted.attention == (2 + 5) * 2 * (2 * 4 * 8 * 8) * 16
    assert counted.kernels == {FORWARD: 1, BACKWARD: 1}
