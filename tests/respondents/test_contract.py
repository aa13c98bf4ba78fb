"""What holds for whoever is asked to choose: local weights of both kinds, an API, scripted rules."""

import contextlib
import json

import numpy as np
import pytest

from moral_jax.config import Config
from moral_jax.config.model import ModelConfig
from moral_jax.config.respondent import RespondentConfig
from moral_jax.config.task import PromptConfig
from moral_jax.respondents.api import client
from moral_jax.respondents.api.cost import Budget
from moral_jax.tasks.questionnaire import cross
from moral_jax.tasks.questionnaire.conditions import Condition
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.types import Example
from moral_jax.workflows.evaluate import interview
from tests.helpers import tiny
from tests.respondents.api_stub import KEY, serve

ORDERS = PromptConfig(orders="all", format="plain")
ASKED = [
    Example(f"r{i}", f"Question {i}?", options, (1.0,) * len(options), text="words " * (i * 3),
            notes={"row": f"r{i}", "tags": [["x"] * (len(o) % 3) for o in options]})
    for i, options in enumerate([("yes", "no"), ("a cat", "two dogs", "nothing at all"), ("left", "right"), ("A", "B")])
]  # fmt: skip


@pytest.fixture(params=["decoder", "encoder", "api", "longest", "tags"])
def asked(request, tmp_path, tiny_folder, monkeypatch):
    """Returns records of examples, of a respondent made anew for each test."""
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    (tmp_path / "tags.json").write_text(json.dumps({"x": 1}))
    with contextlib.ExitStack() as stack:
        if request.param == "decoder":
            config = tiny.run_config(tiny_folder, prompt=ORDERS)
        elif request.param == "encoder":
            folder = tiny.write_encoder_folder(tmp_path / "encoder")
            config = tiny.run_config(folder, model=ModelConfig(path=str(folder), head="score", unroll=1))
        elif request.param == "api":
            _, url = stack.enter_context(serve())
            config = Config(respondent=RespondentConfig("api", "stub", url), prompt=PromptConfig(orders="all"))
        else:
            name = f"tags?file={tmp_path / 'tags.json'}" if request.param == "tags" else request.param
            config = Config(respondent=RespondentConfig("scripted", name), prompt=ORDERS)
        yield interview(config, Budget(None, None, None, True)).records


def shares(records):
    return [np.array(r["probabilities"]) for r in records]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_each_answer_is_a_distribution(asked):
    for p_C in shares(asked(ASKED)):
        assert (p_C >= 0).all()
        assert p_C.sum() == pytest.approx(1)


def test_the_answer_is_the_same_whatever_stands_beside_it(asked):
    together = shares(asked(ASKED))
    assert_same([shares(asked([example]))[0] for example in ASKED], together)
    assert_same(shares(asked(ASKED[::-1]))[::-1], together)


def test_permuted_options_have_permuted_answers(asked):
    """All orders are averaged. Tags go with their options."""
    order = {2: (1, 0), 3: (2, 0, 1)}
    permuted = []
    for e in ASKED:
        places = order[len(e.options)]
        tags = [e.notes["tags"][i] for i in places]
        permuted.append(e._replace(options=tuple(e.options[i] for i in places), notes=e.notes | {"tags": tags}))
    expected = [p_C[list(order[len(p_C)])] for p_C in shares(asked(ASKED))]
    assert_same(shares(asked(permuted)), expected)


def test_an_empty_condition_changes_nothing(asked):
    empty = Condition("empty", "axis")
    crossed = [cross.example_of(Question(e, "here", True, (), None, False, {}), [empty], None) for e in ASKED]
    crossed = [c._replace(notes=c.notes | {"tags": e.notes["tags"]}) for c, e in zip(crossed, ASKED, strict=True)]
    assert_same(shares(asked(crossed)), shares(asked(ASKED)))


def test_there_is_no_state_between_calls(asked):
    first = shares(asked(ASKED))
    asked(ASKED[1:3])
    assert [p.tolist() for p in shares(asked(ASKED))] == [p.tolist() for p in first]
