"""Another kind of ask, whole completions, fits the loop, the step, the mesh and the plan as they are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import sharding
from moral_jax.config.train import OptimConfig, TrainConfig
from moral_jax.models import read_out
from moral_jax.objectives.base import Objective
from moral_jax.plan import chips, machines
from moral_jax.plan import compile as plans
from moral_jax.train import loop, optim, step
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.types import Array, Batch, Tokens
from tests.helpers import tiny

VOCAB, LENGTH, ROWS = 96, 16, 8


class Completions(NamedTuple):
    """A text in each row, of which every token but the first is read."""

    read_BA: Array
    target_ids_BA: Array
    token_weights_BA: Array
    weights_BQ: Array
    items_BQ: Array


def next_token(read, batch):
    """- log p of the tokens that follow, per token."""
    asks = batch.asks
    logp_BA = read.logp(asks.target_ids_BA)
    return {"loss": (-jnp.sum(logp_BA * asks.token_weights_BA), jnp.sum(asks.token_weights_BA))}


TOY = Objective(next_token, Completions, judged_by="loss", label="SFT", reads=())


def batch_of(seed=0):
    rng = np.random.default_rng(seed)
    tokens_BT = np.tile(rng.integers(0, VOCAB, 4), (ROWS, LENGTH // 4)).astype(np.int32)  # four tokens, again and again
    one_BT = np.ones_like(tokens_BT)
    positions_BT = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens_BT.shape).copy()
    read_BA = positions_BT[:, :-1].copy()
    weights_BA = np.ones(read_BA.shape, np.float32)
    weights_BA[:, :3] = 0  # a prompt
    one_BQ, items_BQ = np.ones((ROWS, 1), np.float32), np.arange(ROWS, dtype=np.int32)[:, None]
    return Batch(
        Tokens(tokens_BT, one_BT, one_BT + 1, positions_BT, 0 * one_BT),
        Completions(read_BA, tokens_BT[:, 1:].copy(), weights_BA, one_BQ, items_BQ),
    )


def test_log_probabilities_are_those_of_the_whole_vocabulary(monkeypatch):
    monkeypatch.setattr(read_out, "POSITIONS_PER_BLOCK", 16)  # several blocks, the last of them not full
    model, batch = tiny.model(tiny.spec(vocab=VOCAB)), batch_of()
    params = tiny.params(model)
    got = jax.jit(lambda p: read_out.read_out(p, model, batch).logp(batch.asks.target_ids_BA))(params)
    logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, batch.tokens.tokens_BT)
    dense = jax.nn.log_softmax(logits, axis=-1)[:, :-1]
    want = jnp.take_along_axis(dense, jnp.asarray(batch.asks.target_ids_BA)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert float(got.max()) <= 1e-5


class Source:
    """The same batch at every step."""

    def __len__(self):
        return 12

    def stream(self, start, stop, params):
        for _ in range(start, stop):
            assert "decoder" in params()  # a source may look at what training has reached
            yield batch_of()

    def names(self, batch):
        return [f"text {n}" for n in batch.asks.items_BQ.ravel()]


@pytest.mark.parametrize(("shape", "profiled"), [((1, 1, 1), 2), ((2, 2, 2), 0)])
def test_the_loop_trains_on_it(tmp_path, shape, profiled):
    """And traces the steps that were asked for."""
    model = tiny.model(tiny.spec(vocab=VOCAB), mesh=tiny.mesh(*shape))
    config, total, lines = OptimConfig(lr=1e-2), len(Source()), []
    stage = loop.Stage(
        model, TOY, optim.make(config, total), optim.schedule(config, total), Source(), micro_rows=4, evaluators=(),
        total=total, options=TrainConfig(profile_steps=profiled), profile=tmp_path / "profile",
    )  # fmt: skip
    state = step.init_state(tiny.params(model), model, stage.optimizer)
    with Checkpoints(tmp_path / "c", {}) as checkpoints:
        progress = loop.train(stage, state, {}, Progress(), checkpoints, lambda *line: lines.append(line))
    losses = [numbers["loss"] for _, kind, numbers in lines if kind == "train"]
    assert progress.finished
    assert len(losses) == total
    assert losses[-1] < 0.5 * losses[0]
    traces = list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert len(traces) == bool(profiled)
    assert all(b"optimizer" in trace.read_bytes() for trace in traces), "parts of the step have names"


def test_the_plan_compiles_it():
    model = tiny.model(tiny.spec(vocab=VOCAB), mesh=tiny.mesh(1, 2, 1))
    where = sharding.of_batch(model.compute.mesh, micro_batches=True)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype, sharding=where), batch_of())
    machine = machines.Topology("v5e:1x2", chips.CHIPS["v5e"], [None] * 2)
    program = plans.training_program(TOY, model, optim.make(OptimConfig(), 10), batch, machine)
    assert isinstance(program, plans.Program)
    assert program.counted.flops > 0
