"""Batches from examples: laid out right, the same from any start, any prefetch."""

import dataclasses

import jax
import numpy as np
import pytest

from moral_jax.config import Config
from moral_jax.config.model import ModelConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig
from moral_jax.data import layout, pipeline
from moral_jax.prompts import render
from moral_jax.respondents.encode import QuestionEncoder
from moral_jax.tasks import synthetic
from moral_jax.types import UserError
from moral_jax.workflows.local_model import find_model

DATA = DataConfig(length=224, batch_size=3, micro_batch_size=1)


@pytest.fixture(scope="module")
def prompter(tiny_folder):
    config = Config(model=ModelConfig(path=str(tiny_folder)), task=TaskConfig(name="synthetic"), data=DATA)
    return QuestionEncoder(config, find_model(config))


@pytest.fixture(scope="module")
def examples():
    return synthetic.examples()[:40]


@pytest.fixture(scope="module")
def training(prompter, examples):
    questions, epochs = prompter.for_training(examples, 3)
    return pipeline.training_batches(
        questions, epochs, 0, shape_of(questions, DATA.batch_size), range(DATA.batch_size), 2
    )


def shape_of(questions, rows):
    return layout.shape_of([questions], DATA, rows, rows)


def unpack(batches, number):
    """(item, tokens, positions, batch, row, slot) of every question in a batch, read back from the arrays alone."""
    b = batches[number]
    for row, slot in zip(*np.nonzero(b.asks.items_BQ >= 0), strict=True):
        answer = b.asks.read_BA[row, b.asks.read_of_option_BQC[row, slot, 0]]
        segment = b.tokens.segments_BT[row, answer]
        before = np.arange(b.tokens.tokens_BT.shape[1]) <= answer
        seen = before & (b.tokens.segments_BT[row] <= segment) & (segment < b.tokens.ends_BT[row])
        yield b.asks.items_BQ[row, slot], b.tokens.tokens_BT[row, seen], b.tokens.positions_BT[row, seen], b, row, slot


def assert_tokens_see_their_own_texts(tokens):
    """The places that a token sees are 0, 1, 2, ... up to its own, each once."""
    for segments_T, ends_T, positions_T in zip(tokens.segments_BT, tokens.ends_BT, tokens.positions_BT, strict=True):
        for query in np.flatnonzero(segments_T > 0):
            before = slice(query + 1)
            sees = (segments_T[before] <= segments_T[query]) & (segments_T[query] < ends_T[before])
            np.testing.assert_array_equal(positions_T[before][sees], np.arange(positions_T[query] + 1))


def test_a_batch_holds_what_was_encoded(training):
    seen = 0
    for number in range(len(training)):
        for item, tokens, positions, b, row, slot in unpack(training, number):
            index, order = training.questions.items[item]
            encoded = training.questions.encoded[item]
            np.testing.assert_array_equal(tokens, encoded.texts[0].tokens_T)
            np.testing.assert_array_equal(positions, np.arange(len(tokens)))
            assert (
                b.asks.read_BA[row, slot]
                == np.flatnonzero(b.tokens.segments_BT[row] == b.tokens.segments_BT[row, b.asks.read_BA[row, slot]])[-1]
            )
            counts = training.questions.examples[index].counts
            assert b.asks.counts_BQC[row, slot].tolist() == [counts[o] for o in order]
            ids = tuple(tuple(i for i in option if i >= 0) for option in b.asks.option_ids_BQCW[row, slot].tolist())
            assert ids == encoded.option_ids
            assert b.asks.weights_BQ[row, slot] == 1
            seen += 1
    assert seen == 3 * 40 * 2


def test_the_shared_beginning_is_shared(training):
    assert len(training.questions.shared_T) > 10
    whole = [e.texts[0].tokens_T[: len(training.questions.shared_T)] for e in training.questions.encoded]
    assert all((w == training.questions.shared_T).all() for w in whole)


def test_what_the_orders_of_an_example_have_in_common_is_held_once(prompter):
    """Five orders of five options after a long text: each adds its options, and all is still read back whole."""
    text = "I told my sister that I would not come to her wedding. " * 4
    five = [
        e._replace(text=f"{e.options[0]}. {text}", options=tuple("abcde"), counts=(1.0, 2, 3, 4, 5))
        for e in synthetic.examples()[:6]
    ]
    questions = prompter.for_scoring(five, "x")
    data = dataclasses.replace(DATA, length=1024)
    batches = pipeline.scoring_batches(questions, layout.shape_of([questions], data, 2, 2), range(2), 2)
    seen = {item: tokens.tolist() for n in range(len(batches)) for item, tokens, *_ in unpack(batches, n)}
    assert seen == {i: e.texts[0].tokens_T.tolist() for i, e in enumerate(questions.encoded)}
    groups = [group for rows in batches.plan for row in rows for group in row[1:]]
    assert any(group.common > 0 for group in groups), "a text held once that is not the first of its row"
    for n in range(len(batches)):
        assert_tokens_see_their_own_texts(batches[n].tokens)
    alone = sum(map(len, seen.values()))
    assert batches.shared_fraction() == pytest.approx(1 - batches.tokens() / alone)
    assert batches.shared_fraction() > 0.5


def test_few_questions_get_a_row_of_one_of_a_few_lengths(prompter, examples):
    whole = layout.Shape(rows=8, data_rows=8, length=512, questions=16, answers=16, options=2, variants=2)
    shapes = []
    for count in range(1, 20):
        questions = prompter.for_scoring(examples[:count], "x")
        shape = layout.shape_of_few(questions, whole, fewest=2)
        batches = pipeline.scoring_batches(questions, shape, range(shape.rows), 2)
        assert sum((batches[n].asks.items_BQ >= 0).sum() for n in range(len(batches))) == 2 * count
        shapes.append((shape.rows, shape.length))
    assert shapes[-1] == (8, 512)
    assert 1 < len(set(shapes)) <= 4


def test_every_epoch_shows_every_example_in_both_orders_side_by_side(training):
    items = [item for n in range(len(training)) for item, *_ in unpack(training, n)]
    for epoch in range(3):
        shown = [training.questions.items[i] for i in items[80 * epoch : 80 * (epoch + 1)]]
        assert sorted(shown) == [(i, o) for i in range(40) for o in ((0, 1), (1, 0))]
    for n in range(len(training)):
        b = training[n]
        for row in b.asks.items_BQ:
            held = [training.questions.items[i][0] for i in row if i >= 0]
            assert all(held.count(index) == 2 for index in held)


def rotations(example):
    return render.orders(len(example.options), "rotations", True)


def test_one_order_at_a_time_takes_turns(examples):
    epochs = [pipeline.epoch_items(examples, epoch, rotations, 1) for epoch in range(3)]
    first, second, third = (dict(unit[0] for unit in epoch) for epoch in epochs)
    assert all(first[i] != second[i] and first[i] == third[i] for i in range(40))
    assert 0.4 < np.mean([order == (0, 1) for order in first.values()]) < 0.6


def test_two_of_five_orders_at_a_time():
    five = [synthetic.examples()[0]._replace(options=tuple("abcde"), counts=(1.0,) * 5)]
    shown = [pipeline.epoch_items(five, epoch, rotations, 2)[0] for epoch in range(5)]
    assert all(len(set(unit)) == 2 for unit in shown)
    assert {order for unit in shown for _, order in unit} == set(rotations(five[0]))


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_order_comes_again_before_all_have_come(at_once):
    """Of six options, in the epochs that all orders take; every row begins elsewhere."""
    six = [synthetic.examples()[0]._replace(options=tuple("abcdef"), counts=(1.0,) * 6)] * 4
    epochs = [pipeline.epoch_items(six, epoch, rotations, at_once) for epoch in range(6 // at_once)]
    for row in range(len(six)):
        shown = [order for epoch in epochs for _, order in epoch[row]]
        assert sorted(shown) == sorted(rotations(six[0]))
    assert len({epochs[0][row][0] for row in range(len(six))}) == len(six)


def test_orders_that_do_not_fit_one_row_are_shown_all_the_same(prompter, examples):
    questions, epochs = prompter.for_training(examples[:8], 1)
    longest = max(e.length for e in questions.encoded)
    shape = layout.Shape(rows=2, data_rows=2, length=longest + 5, questions=4, answers=4, options=2, variants=2)
    batches = pipeline.training_batches(questions, epochs, 0, shape, range(2), 2)
    assert sorted(i for n in range(len(batches)) for i, *_ in unpack(batches, n)) == list(range(16))


def test_any_batch_from_any_start_on_any_thread(training):
    straight = list(training.stream(0, len(training)))
    for start in (0, 1, len(training) - 1):
        training.prefetch = 1
        for batch, want in zip(training.stream(start, len(training)), straight[start:], strict=True):
            jax.tree.map(np.testing.assert_array_equal, batch, want)


def test_padding_sees_nothing_and_weighs_nothing(training):
    b = training[len(training) - 1]
    padding = b.tokens.segments_BT == 0
    assert (b.tokens.ends_BT[padding] == 1).all()  # visible to segment 0 alone
    empty = b.asks.items_BQ < 0
    assert empty.any()
    assert (b.asks.weights_BQ[empty] == 0).all()
    assert (b.asks.option_ids_BQCW[empty] == -1).all()


def test_scoring_asks_every_order_once(prompter, examples):
    questions = prompter.for_scoring(examples, "x")
    batches = pipeline.scoring_batches(questions, shape_of(questions, 2), range(2), 2)
    items = [item for n in range(len(batches)) for item, *_ in unpack(batches, n)]
    assert sorted(items) == list(range(80))
    assert sorted(questions.items) == [(i, o) for i in range(40) for o in ((0, 1), (1, 0))]


def test_fill_counts_what_is_real(training):
    real = sum((training[n].tokens.segments_BT > 0).sum() for n in range(len(training)))
    total = sum(training[n].tokens.segments_BT.size for n in range(len(training)))
    assert training.fill() == pytest.approx(real / total)


def test_an_error_names_the_row(prompter, examples):
    long = examples[3]._replace(options=("x " * 400, "y"))
    with pytest.raises(UserError, match=rf"row '{long.id}': the prompt has"):
        prompter.for_scoring([*examples[:3], long], "x")
