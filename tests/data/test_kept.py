"""Tokens of large sets: written once into the cache, mapped into memory, and the same as those in memory."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from moral_jax.config.model import ModelConfig
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig
from moral_jax.data import encode, kept, pipeline
from moral_jax.runs.records import Asks
from moral_jax.runtime.files import cache_folder
from moral_jax.tasks import stored, synthetic
from moral_jax.types import UserError
from moral_jax.workflows import build
from tests.helpers import tiny

ACTIONS = [action for action, _ in synthetic.read_actions()][:40]
OF_FORM = {
    "texts": [{"text": f"One was {a}. " * (1 + 9 * (i % 3))} for i, a in enumerate(ACTIONS)],
    "preferences": [{"prompt": f"Should one be {a}?", "chosen": f"Yes, {a}", "rejected": "No."} for a in ACTIONS],
    "votes": [{"text": a, "question": "Wrong?", "options": ["yes", "no"], "counts": [i % 3, 1]}
              for i, a in enumerate(ACTIONS)],
}  # fmt: skip
OBJECTIVES = {"texts": "sft", "preferences": "dpo", "votes": "soft_cross_entropy"}


@pytest.fixture
def config(request, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(OF_FORM[request.param])))
    return tiny.run_config(
        tiny_folder,
        model=ModelConfig(path=str(tiny_folder)),
        task=TaskConfig(name=request.param, path=str(path), validation=0.2, test=0.2),
        objective=ObjectiveConfig(name=OBJECTIVES[request.param]),
        data=DataConfig(length=128, batch_size=4, micro_batch_size=4),
    )


every_form = pytest.mark.parametrize("config", OF_FORM, indirect=True)
of_texts = pytest.mark.parametrize("config", ["texts"], indirect=True)


def setup_of(config, monkeypatch, in_memory):
    monkeypatch.setattr(stored, "IN_MEMORY", in_memory)
    return build.training_setup(config)


@every_form
def test_batches_are_those_of_texts_in_memory(config, monkeypatch):
    listed, mapped = (setup_of(config, monkeypatch, most) for most in (1000, 10))
    of_list, of_file = listed.batches.questions, mapped.batches.questions
    assert isinstance(of_file.encoded, kept.KeptTexts)
    assert isinstance(of_list.encoded, list)
    assert of_file.items == of_list.items
    assert of_file.cut == of_list.cut
    if config.task.name == "texts":
        assert of_file.cut > 0  # some are in pieces
    assert mapped.prompts == listed.prompts
    for a, b in zip(of_list.measures, of_file.measures, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(mapped.batches) == len(listed.batches)
    for a, b in zip(listed.batches.stream(0, 3), mapped.batches.stream(0, 3), strict=True):
        for x, y in zip(a.tokens, b.tokens, strict=True):
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(a.asks.read_BA, b.asks.read_BA)
        np.testing.assert_array_equal(a.asks.counts_BQC, b.asks.counts_BQC)


@every_form
def test_a_second_start_reads_and_tokenises_nothing(config, monkeypatch):
    first = setup_of(config, monkeypatch, 10)

    def never(*_, **__):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(pipeline, "fit", never)
    second = build.training_setup(config)
    assert second.prompts == first.prompts
    assert second.batches.questions.items == first.batches.questions.items


@pytest.mark.parametrize(
    ("config", "change"),
    [("preferences", {"prompt": PromptConfig(format="plain")}), ("texts", {"data": DataConfig(length=48)})],
    indirect=["config"],
)
def test_what_changes_tokens_tokenises_again(config, monkeypatch, change):
    before = setup_of(config, monkeypatch, 10)
    changed = build.training_setup(dataclasses.replace(config, **change))
    monkeypatch.setattr(stored, "IN_MEMORY", 1000)
    assert changed.prompts == build.training_setup(dataclasses.replace(config, **change)).prompts
    assert changed.prompts != before.prompts


@of_texts
def test_rows_in_another_order_are_other_texts(config, monkeypatch):
    questions = setup_of(config, monkeypatch, 10).batches.questions
    examples = questions.examples
    assert isinstance(examples, stored.StoredExamples)
    turned = examples[::-1]
    encoder = build.Scoring(config, build.find_model(config)).encoder
    again = encoder.encode(Asks(turned, encoder.all_items(turned)), "turned")
    assert [turned[i].id for i, _ in again.items] != [examples[i].id for i, _ in questions.items]
    text = again.encoded[0].texts[0].tokens_T
    assert text.tolist() in [e.texts[0].tokens_T.tolist() for e in questions.encoded]
    assert (
        encoder.files.tokenizer.decode(text, skip_special_tokens=True).split()[:3] == turned[0].options[0].split()[:3]
    )


@of_texts
def test_what_was_not_finished_is_made_again(config, monkeypatch):
    first = setup_of(config, monkeypatch, 10)
    [*notes] = (cache_folder() / "tokens").glob("*.npz")
    assert len(notes) == 1 + len(first.scored)
    for note in notes:
        note.unlink()
    assert build.training_setup(config).prompts == first.prompts
    for note in notes:
        note.write_bytes(note.read_bytes()[:100])
    assert build.training_setup(config).prompts == first.prompts


@of_texts
def test_an_error_leaves_nothing_that_would_be_taken_for_whole(config, monkeypatch):
    real, calls = pipeline.fit, []

    def fails(*args):
        calls.append(args)
        if len(calls) == 7:
            raise UserError("no")
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "fit", fails)
        with pytest.raises(UserError, match="row '\\d+': no"):
            setup_of(config, monkeypatch, 10)
    assert not list((cache_folder() / "tokens").glob("*.npz"))
    assert build.training_setup(config).batches is not None


@pytest.mark.parametrize("config", ["preferences"], indirect=True)
@pytest.mark.parametrize("in_memory", [1000, 10])
def test_pairs_that_do_not_fit_are_found_as_they_are_tokenised(config, monkeypatch, in_memory):
    """Every pair is tokenised once, and by a second start of a large set not at all."""
    rows = [json.loads(line) for line in Path(config.task.path).read_text().splitlines()]
    for row in rows[::4]:
        row["chosen"] = row["chosen"] * 60
    Path(config.task.path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, on_bad_row="drop"))
    seen = []
    texts_of = pipeline.texts_of

    def counted(tokenizer, rendered):
        seen.append(rendered.texts)
        return texts_of(tokenizer, rendered)

    monkeypatch.setattr(pipeline, "texts_of", counted)
    monkeypatch.setattr(encode, "texts_of", counted)
    found = setup_of(config, monkeypatch, in_memory)
    assert len(seen) == len(set(seen)) == len(rows)
    left = sum(len(side) for side in found.data.sides.values())
    assert left == len(rows) - len(rows[::4])
    ids = {row["id"] for row in rows[::4]}
    assert not ids & {e.id for side in found.data.sides.values() for e in side}
    again = build.training_setup(config)
    assert again.prompts == found.prompts
    assert len(seen) == (len(rows) if in_memory == 10 else 2 * len(rows))
