"""Texts of score heads: rendered, encoded, cut, and laid out for both backbones."""

import dataclasses

import numpy as np
import pytest

from moral_jax.config import Config
from moral_jax.config.model import ModelConfig
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.config.train import DataConfig
from moral_jax.data import encode, layout, pipeline
from moral_jax.prompts import render
from moral_jax.respondents.encode import QuestionEncoder
from moral_jax.tasks import synthetic
from moral_jax.types import Example, UserError
from moral_jax.workflows.local_model import find_model
from tests.helpers import tiny

DATA = DataConfig(length=96, batch_size=3, micro_batch_size=1)
DILEMMA = Example(id="d", question="Which is worse?", options=("lying", "stealing"), counts=(1.0, 4.0))
STORY = Example(
    id="s", question="Who is wrong?", title="AITA?", text="I left.", options=("me", "them", "us"), counts=(1, 1, 1)
)
LONG = "I told my sister that I would not come to her wedding. " * 40


def make(is_encoder, about_one=None, head="score", **changes):
    return render.make_scored_renderer(PromptConfig(**changes), head, about_one, is_encoder=is_encoder)


def test_a_prompt_for_each_option():
    got = make(False, "Is it wrong?")(DILEMMA, (0, 1))
    assert got.texts == (("Is it wrong?\n\nlying\nAnswer:",), ("Is it wrong?\n\nstealing\nAnswer:",))
    assert got.rows == (0, 0)
    got = make(False, template="{text} {option}?", answer_prefix="So:")(STORY, (0, 1, 2))
    assert got.texts[1] == ("I left. them?\nSo:",)
    assert make(False)(STORY, (0, 1, 2)).texts[2][0] == (
        "Who is wrong? Is this what people answer?\n\nAITA?\n\nI left.\n\nus\nAnswer:"
    )


def test_an_encoders_options_stand_alone_or_after_what_they_are_about():
    assert make(True, "Is it wrong?")(DILEMMA, (0, 1)).texts == (("lying",), ("stealing",))
    assert make(True)(STORY, (0, 1, 2)).texts[0] == ("Who is wrong? AITA? I left.", "me")


def test_classes_read_title_and_text():
    got = make(True, head="classes")(STORY, (0, 1, 2))
    assert (got.texts, got.rows) == ((("AITA?", "I left."),), (0, 1, 2))
    assert make(True, head="classes")(STORY._replace(title=""), (0, 1, 2)).texts == (("I left.",),)


@pytest.mark.parametrize(
    ("is_encoder", "changes", "message"),
    [
        (False, {"system": "x"}, "config.prompt.system: prompts with ask='each' have none"),
        (True, {"answer_prefix": "x"}, "config.prompt.answer_prefix: encoders read the row's own words"),
        (True, {"head": "classes", "template": "x"}, "config.prompt.template: encoders read"),
    ],
)
def test_words_that_nobody_would_read(is_encoder, changes, message):
    with pytest.raises(UserError, match=message):
        make(is_encoder, **changes)


@pytest.mark.parametrize("head", ["score", "classes"])
def test_options_have_one_order(head):
    assert not render.options_move(PromptConfig(), head, "dilemmas")


@pytest.fixture(scope="module")
def folders(tiny_folder, tmp_path_factory):
    return {"decoder": tiny_folder, "encoder": tiny.write_encoder_folder(tmp_path_factory.mktemp("encoder"))}


def prompter(folder, head="score", task="synthetic", **data):
    config = Config(
        model=ModelConfig(path=str(folder), head=head),
        task=TaskConfig(name=task),
        data=dataclasses.replace(DATA, **data),
    )
    return QuestionEncoder(config, find_model(config))


def unpack(batches):
    """(item, option, tokens, positions, types, is_first) of every option, read back from the arrays alone."""
    for number in range(len(batches)):
        b = batches[number]
        for row, slot in zip(*np.nonzero(b.asks.items_BQ >= 0), strict=True):
            for c in np.flatnonzero(b.asks.option_ids_BQCW[row, slot, :, 0] >= 0):
                answer = b.asks.read_BA[row, b.asks.read_of_option_BQC[row, slot, c]]
                segment = b.tokens.segments_BT[row, answer]
                seen = (b.tokens.segments_BT[row] <= segment) & (segment < b.tokens.ends_BT[row])
                places = np.flatnonzero(seen)
                is_end = {"first": places[0] == answer, "last": places[-1] == answer}
                leaves = (leaf[row, seen] for leaf in (b.tokens.tokens_BT, b.tokens.positions_BT, b.tokens.types_BT))
                yield b.asks.items_BQ[row, slot], c, *leaves, is_end


@pytest.mark.parametrize("backbone", ["decoder", "encoder"])
def test_a_batch_holds_each_text_and_its_answer(folders, backbone):
    of = prompter(folders[backbone])
    questions, epochs = of.for_training(synthetic.examples()[:20], 2)
    shape = layout.shape_of([questions], DATA, 3, 3)
    batches = pipeline.training_batches(questions, epochs, 0, shape, range(3), 2)
    seen = []
    for item, c, tokens, positions, types, is_end in unpack(batches):
        np.testing.assert_array_equal(tokens, questions.encoded[item].texts[c].tokens_T)
        np.testing.assert_array_equal(positions, np.arange(len(tokens)))
        assert not types.any()
        assert is_end["first" if backbone == "encoder" else "last"]
        seen.append((item, c))
    assert sorted(seen) == sorted(2 * [(item, c) for item in range(20) for c in range(2)])
    assert (len(questions.shared_T) > 3) == (backbone == "decoder")
    assert shape.answers == 2 * shape.questions
    real = sum((batches[n].tokens.segments_BT > 0).sum() for n in range(len(batches)))
    assert batches.tokens() == real


def test_an_encoders_pair_has_types(folders):
    of = prompter(folders["encoder"], "classes", "anecdotes")
    five = STORY._replace(options=tuple("abcde"), counts=(1.0,) * 5)
    questions = of.for_scoring([five], "x")
    [text] = questions.encoded[0].texts
    words = of.tokenizer("AITA?", "I left.", return_token_type_ids=True)
    assert text.tokens_T.tolist() == words["input_ids"]
    assert text.types_T.tolist() == words["token_type_ids"]
    assert set(text.types_T) == {0, 1}
    assert questions.encoded[0].option_ids == ((0,), (1,), (2,), (3,), (4,))
    batches = pipeline.scoring_batches(questions, layout.shape_of([questions], DATA, 1, 1), range(1), 2)
    assert [t.tolist() for *_, t, _ in unpack(batches)] == 5 * [text.types_T.tolist()]


@pytest.mark.parametrize(("backbone", "length"), [("decoder", 256), ("encoder", 256), ("encoder", 1000)])
def test_long_texts_are_cut_so_that_all_texts_of_a_question_fit_into_a_row(folders, backbone, length):
    of = prompter(folders[backbone], task="votes", length=length)
    questions = of.for_scoring([STORY._replace(text=LONG)], "x")
    assert questions.cut == 1
    texts = questions.encoded[0].texts
    longest = max(len(text.tokens_T) for text in texts)
    saved = 0 if backbone == "encoder" else 2 * encode.common_length([t.tokens_T for t in texts])
    used = sum(len(text.tokens_T) for text in texts) - saved
    assert used <= length
    assert longest <= of.limits.text
    assert used > length - 40 or longest > of.limits.text - 12  # no more than needed
    shape = layout.shape_of([questions], dataclasses.replace(DATA, length=length), 1, 1)
    batches = pipeline.scoring_batches(questions, shape, range(1), 2)
    assert len(list(unpack(batches))) == 3


def test_the_tokens_that_follow_a_prompt(folders):
    words = prompter(folders["decoder"]).tokenizer
    got = encode.next_tokens(words, "Is it?\nAnswer:", (" A", " N"))
    assert [words.decode([i]) for i in got] == [" A", " N"]
