"""What runs in the processes of these tests, once they were forked."""

import json
import time

from jax.sharding import Mesh

from moral_jax import sharding
from moral_jax.cli import main as cli
from moral_jax.config.model import MeshConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.inference import generate
from moral_jax.runtime import distributed, preemption, supervisor
from moral_jax.train import loop
from moral_jax.types import UserError
from tests.helpers import tiny


def train(what: str, arguments: list[str]) -> int:
    """Runs train.py, but after step 2 it does what `what` says: nothing, stall, or wait for SIGTERM."""
    push = loop.MetricReader.push

    def late(reader: loop.MetricReader, pending: loop.Pending) -> None:
        while pending.step > 2 and (what == "stall" or (what == "wait" and not preemption.noticed())):
            time.sleep(0.05)
        push(reader, pending)

    loop.MetricReader.push = late
    return cli.train_main(arguments)


def written(mesh: Mesh) -> list[list[int]]:
    """Returns the tokens that a tiny model writes to some prompts, two replies to each."""
    model = tiny.model(tiny.spec(layers=1), mesh=mesh)
    prompts = [generate.Prompt(list(range(3, 8 + n)), n) for n in range(6)]
    how = SampleConfig(n=2, max_tokens=20, slots=8)
    found = dict(generate.generate(tiny.params(model), model, prompts, how, frozenset({5})))
    return [reply.tokens.tolist() for place in range(len(prompts)) for reply in found[place]]


def write() -> int:
    """Joins the others that the environment names, and prints what all of them write together."""
    supervisor.fork_supervisor("somewhere")
    distributed.start(None, None, None)
    with distributed.exit_together():
        print(json.dumps(written(sharding.make_mesh(MeshConfig()))), flush=True)
    return 0


def ask(me: int) -> int:
    """Joins the others that the environment names, and prints what this process holds and hears."""
    assert supervisor.expects_others(None, None, None)
    supervisor.fork_supervisor("somewhere")
    distributed.start(None, None, None)

    def refuse() -> None:
        raise UserError("the primary's own words")

    with distributed.exit_together():
        rows = sharding.local_rows(8, 4, sharding.make_mesh(MeshConfig()))
        from_0 = distributed.from_primary(lambda: {"said by": me, "text": "ä" * 3000})
        error = differs = ""
        try:
            distributed.from_primary(refuse)
        except UserError as e:
            error = str(e)
        try:
            distributed.same_everywhere("the colour", ["red", "blue"][min(me, 1)])
        except UserError as e:
            differs = str(e)
        print(json.dumps([me, rows, from_0["said by"], len(from_0["text"]), error, differs]), flush=True)
    return 0
