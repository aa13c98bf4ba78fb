"""Tests mixtures: each source with its own rows, fields and prompts; what is trained on, and how often."""

import collections
import dataclasses
import json

import pytest

from moral_jax import config
from moral_jax.config import parsing, saved
from moral_jax.config.model import ModelConfig
from moral_jax.config.task import PromptConfig, SourceConfig, TaskConfig
from moral_jax.data import pipeline
from moral_jax.prompts import render
from moral_jax.respondents.encode import QuestionEncoder
from moral_jax.tasks import load
from moral_jax.types import UserError
from moral_jax.workflows.local_model import find_model

PRIVATE = """
from moral_jax import config

def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.question = "{question}"
    c.task.scale = {scale}
    c.prompt.answer_prefix = "{prefix}"
    return c
"""


@pytest.fixture
def mixture(tmp_path, tiny_folder):
    """Returns a config of two sources that share ids and keys, with fields of the task changed."""

    def made(**task):
        c = config.default()
        c.model.path, c.task.name = str(tiny_folder), "mixture"
        sources = []
        for name, scale, options in (("deeds", False, ["yes", "no"]), ("scale", True, ["low", "mid", "high"])):
            rows = [
                {"id": str(i), "text": f"{name} {i}", "options": options, "counts": [1] * len(options)}
                for i in range(20)
            ]
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            text = (
                PRIVATE.replace("{question}", f"Ask {name}?").replace("{scale}", str(scale)).replace("{prefix}", name)
            )
            (tmp_path / f"{name}.py").write_text(text)
            path = str(tmp_path / f"{name}.jsonl")
            weight = {"deeds": 1.0, "scale": 2.5}[name]
            sources.append(
                config.source(name, str(tmp_path / f"{name}.py"), weight, path=path, **{"fields.key": "{id}"})
            )
        c.task.sources = tuple(sources)
        for field, value in task.items():
            setattr(c.task, field, value)
        return config.build(c)

    return made


def sources(rows):
    return collections.Counter(e.source for e in rows)


def test_sources_keep_their_rows_apart(mixture):
    data = load.load(mixture().task)
    assert sources(data.train) == {"deeds": 14, "scale": 14}
    assert sources(data.test) == {"deeds": 4, "scale": 4}
    rows = [*data.train, *data.validation, *data.test]
    assert len({e.id for e in rows}) == len(rows) == 40
    assert all(e.groups["source"] == e.source == e.id.split(":")[0] for e in rows)
    assert len({key for e in rows for key in e.keys}) == 40  # the keys "0" to "19" of one are not those of the other
    assert set(data.provenance["sources"]) == {"deeds", "scale"}
    assert len(data.provenance["sha256"]) == 2


@pytest.mark.parametrize(
    ("train_on", "trained"),
    [("deeds", {"deeds"}), ("-deeds", {"scale"}), ("deeds|scale", {"deeds", "scale"}), (None, {"deeds", "scale"})],
)
def test_some_are_trained_on_and_all_are_tested_on(mixture, train_on, trained):
    data = load.load(mixture(train_on=train_on).task)
    assert set(sources(data.train)) == set(sources(data.validation)) == trained
    assert set(sources(data.test)) == {"deeds", "scale"}
    whole = load.load(mixture().task)
    assert data.test == whole.test
    assert [e for e in whole.train if e.source in trained] == list(data.train)


def test_a_source_for_testing_alone_is_never_trained_on(mixture):
    whole = mixture()
    one, two = whole.task.sources
    two = dataclasses.replace(two, task=dataclasses.replace(two.task, test_only=True))
    data = load.load(dataclasses.replace(whole.task, sources=(one, two)))
    assert sources(data.train) == {"deeds": 14}
    assert sources(data.test) == {"deeds": 4, "scale": 20}
    with pytest.raises(UserError, match="no source is left to train on"):
        load.load(dataclasses.replace(whole.task, sources=(one, two), train_on="scale"))


def with_first(task, **changes):
    """Returns a mixture whose first source has other settings."""
    first = dataclasses.replace(task.sources[0], task=dataclasses.replace(task.sources[0].task, **changes))
    return dataclasses.replace(task, sources=(first, *task.sources[1:]))


def test_preferences_are_no_part_of_a_mixture(mixture):
    expected = r"config.task.sources: 'deeds' is of preferences; a mixture is of questions with votes, and of texts"
    with pytest.raises(UserError, match=expected):
        load.load(with_first(mixture().task, name="preferences"))


def test_texts_stand_beside_votes_and_only_train(mixture):
    data = load.load(with_first(mixture().task, name="texts"))
    assert {e.source for e in data.train} == {"deeds", "scale"}
    assert {e.source for e in (*data.validation, *data.test)} == {"scale"}
    assert {e.source for e in data.voted} == {"scale"}
    assert len(data.voted) == sum(len(e.options) > 1 for e in data.train) > 0
    votes = data._replace(train=list(data.voted))
    assert votes.voted is votes.train


def test_a_mixture_of_texts_alone_is_refused(mixture):
    task = with_first(mixture().task, name="texts")
    with pytest.raises(UserError, match="are all of texts"):
        load.load(dataclasses.replace(task, sources=task.sources[:1]))


def test_each_source_has_its_own_prompt(mixture):
    of = mixture()
    encoder = QuestionEncoder(of, find_model(of))
    deed, point = (next(e for e in load.load(of.task).test if e.source == name) for name in ("deeds", "scale"))
    first, second = encoder.render(deed, (1, 0)).text, encoder.render(point, (2, 1, 0)).text
    assert "Ask deeds?" in first
    assert "A. no\nB. yes" in first
    assert first.endswith("deeds")
    assert "Ask scale?" in second
    assert "A. high\nB. mid\nC. low" in second
    assert second.endswith("scale")
    assert [len(encoder.orders_of(e)) for e in (deed, point)] == [2, 2]
    assert encoder.orders_of(point) == [(0, 1, 2), (2, 1, 0)]  # a scale keeps its order


def test_a_weight_is_how_often_an_epoch_shows_a_row(mixture):
    of = mixture()
    encoder, train = QuestionEncoder(of, find_model(of)), load.load(of.task).train
    _, epochs = encoder.for_training(train, 4)
    for shown in epochs:
        by_source = collections.Counter(train[items[0][0]].source for items in shown)
        assert by_source["deeds"] == 14
        assert abs(by_source["scale"] - 2.5 * 14) <= 1
    for place, example in enumerate(train):
        times = sum(items[0][0] == place for shown in epochs for items in shown)
        assert times == (4 if example.source == "deeds" else 10)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0, 1.5, 2.0, 3.7])
def test_passes_follow_each_other_without_gap(weight):
    for place in (0, 1, 17, 10**6):
        numbers = [n for epoch in range(40) for n in pipeline.passes_in(epoch, place, weight)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert abs(len(numbers) - 40 * weight) <= 1
    epochs = [sum(len(pipeline.passes_in(epoch, place, weight)) for place in range(1000)) for epoch in range(5)]
    assert max(abs(n - 1000 * weight) for n in epochs) <= 2  # every epoch has its share


def test_a_mixture_is_written_down_and_read_again(mixture, tmp_path):
    of = mixture(train_on="deeds")
    saved.save(of, tmp_path / "config.json")
    assert saved.read(tmp_path / "config.json") == of
    assert saved.difference(of, mixture(train_on="-deeds")) == ["task.train_on: 'deeds' -> '-deeds'"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"train_on": "deds"}, "config.task.train_on='deds': expected names of config.task.sources: deeds, scale"),
        ({"name": "votes"}, "config.task.sources=.*expected sources with task mixture"),
        ({"sources": ()}, r"config.task.sources=\(\): expected sources with task mixture"),
        ({"sources": ({"weight": 1.0},)}, r"config.task.sources\[0\]: has no name"),
        ({"sources": ({"name": "a", "weight": 0.0},)}, "weight=0.0: expected a positive number"),
        ({"sources": ({"name": "a", "task": {"nam": "votes"}},)}, r"config.task.sources\[0\].task.nam: no such field"),
        ({"sources": ({"name": "a b"},)}, "expected a name without blanks"),
        ({"sources": ({"name": "a"}, {"name": "a"})}, "expected sources whose names differ"),
    ],
)
def test_a_wrong_mixture_is_refused(mixture, task, message):
    with pytest.raises(UserError, match=message):
        mixture(**task)


def test_secrets_in_a_source_are_refused(mixture, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    source = SourceConfig("a", prompt=PromptConfig(system="Say hf_abcdefghijklmnop."))
    held = config.Config(model=ModelConfig(path="m"), task=TaskConfig(name="mixture", sources=(source,)))
    with pytest.raises(UserError, match="config.task.sources: holds"):
        parsing.without_secrets(held)


def test_rows_of_a_mixture_have_no_format(mixture, tmp_path):
    with pytest.raises(UserError, match="a mixture has no format of its own"):
        load.of_one_file(str(tmp_path / "deeds.jsonl"), mixture().task)


def test_orders_of_an_example_that_is_of_no_source(mixture):
    of = mixture()
    example = load.load(of.task).test[0]._replace(source="")
    assert len(QuestionEncoder(of, find_model(of)).orders_of(example)) == len(render.orders(2, "rotations", True))
