"""Plans of sampling: the sampler's own programs for a slice that is not here, and the bounds by hand."""

import dataclasses
import json
import re

import pytest

from moral_jax.cli import main
from moral_jax.config.model import MeshConfig
from moral_jax.inference.sampler import ROUNDS
from moral_jax.plan import chips, machines, sample
from moral_jax.plan import compile as plans
from moral_jax.plan.cost import layer_weights
from moral_jax.plan.hlo import Counted
from moral_jax.plan.sample import SamplePlan
from moral_jax.types import UserError
from tests.plan.test_plan import CONFIG, SPEC, needs_libtpu


def program(flops, sent):
    return plans.Program(peak=9 * 2**30, arguments=0, outputs=0, temporaries=0, text="",
                         counted=Counted(flops, sent))  # fmt: skip


def test_the_bound_is_that_of_the_scarcest_resource():
    where = machines.Topology("v5e:2x2", chips.CHIPS["v5e"], [None] * 4)
    both = program(ROUNDS * 197e9, {"all-reduce": ROUNDS * 45e6})
    plan = SamplePlan(where, 64, weights=819 * 10**6, cache=819 * 10**6, beginning=both, going_on=both)
    seconds = plan.seconds()
    assert seconds == pytest.approx({"memory": 0.002, "products": 0.001, "network": 0.00025})
    assert sample.summary(plan)["tokens_per_second"] == pytest.approx(32_000)
    assert re.sub(" +", " ", sample.row(plan)) == "| 64 | 0.76 | 0.76 | 9.00 | 16 | 2.00 | memory | 32000 |"
    too_large = dataclasses.replace(plan, going_on=plans.TooLarge(None))
    assert not too_large.fits
    assert "too large" in sample.row(too_large)
    assert "tokens_per_second" not in sample.summary(too_large)


@needs_libtpu
def test_the_sampler_is_compiled_for_a_slice(monkeypatch):
    """Keys and values are cut over tensor by heads, and over the rest by replies."""
    monkeypatch.setattr(sample, "SIZES", (1, 8))
    config = dataclasses.replace(CONFIG, mesh=MeshConfig(data=1, fsdp=2, tensor=2))
    [made] = sample.plans(config, SPEC, machines.topology("v5e:2x2"), prompt_tokens=128, max_tokens=32)
    assert made.replies == 8, "one reply cannot be divided by two"
    assert made.fits
    a_token = 2 * SPEC.layers * SPEC.kv_heads * SPEC.head_size * 2  # bytes of keys and values
    assert made.cache == 8 * (128 + 32) * a_token // 4
    assert made.going_on.counted.sent, "weights are gathered, and products added"
    assert made.weights > 2 * layer_weights(SPEC) // 4


@needs_libtpu
def test_the_command_prints_a_row_for_each_size(tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sample, "SIZES", (4,))
    arguments = ["plan", "--config=configs/scruples/mistral_7b_dilemmas.py:tiny", "--topology=v5e:2x2", "--sample",
                 f"--config.model.path={tiny_folder}", "--prompt-tokens=100", "--max-tokens=20",
                 f"--json={tmp_path / 'plan.jsonl'}"]  # fmt: skip
    assert main.main(arguments) == 0
    assert "tokens/s <= |" in capsys.readouterr().out
    [row] = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    assert row["replies"] == 4
    assert row["tokens_per_second"] > 0


def test_texts_beyond_the_models_positions_are_refused():
    where = machines.Topology("v5e:2x2", chips.CHIPS["v5e"], [None] * 4)
    with pytest.raises(UserError, match=r"--prompt-tokens=4000 --max-tokens=512: the model has 4096 positions"):
        next(sample.plans(CONFIG, SPEC, where, 4000, 512))
