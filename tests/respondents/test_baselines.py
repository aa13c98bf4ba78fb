"""Baselines: honest claims, antisymmetry, nothing taken from validation or test, and a run that all readers read."""

import json

import numpy as np
import pytest

from moral_jax.analysis import ceiling, metrics
from moral_jax.analysis.table import from_examples
from moral_jax.cli import main
from moral_jax.respondents.baselines import registry, simple, text
from moral_jax.respondents.baselines.respondent import BaselineRespondent, Reader
from moral_jax.runs.records import read_jsonl
from moral_jax.tasks import synthetic
from moral_jax.types import Example, UserError
from tests.helpers import examples

OWN = [n for n, b in registry.BASELINES.items() if b.needs == registry.OWN]


def pair(first, second, counts, name=""):
    return Example(id=name or f"{first}/{second}", question="?", options=(first, second), counts=counts)


def anecdote(text, counts):
    return Example(id=text, question="?", options=("a", "b", "c"), counts=counts, title="t", text=text)


@pytest.fixture(scope="module")
def rows():
    examples = synthetic.examples()
    return examples[:200], examples[200:250], examples[250:]


def fit(name, train, validation=()):
    return registry.get(name, list(train)).fit(list(train), list(validation), 0)


def test_a_rule_claims_what_its_pick_was_worth_in_training():
    train = [pair("aa", "b", (1, 4)), pair("a", "bbb", (3, 2)), pair("tied", "tied2"[:4], (5, 0))]
    answers = fit("fewest_characters", train).answer([pair("x", "yy", (1, 0)), pair("zz", "ww", (1, 0))])
    share = (1 / 2 + 4 / 5 + 3 / 5) / 3  # one even imagined row, and two where the rule picks
    np.testing.assert_allclose(answers.p_EC, [[share, 1 - share], [0.5, 0.5]])
    assert answers.choice_E.tolist() == [0, -1]  # a tie picks nothing
    longest = fit("most_characters", train).answer([pair("x", "yy", (1, 0))])
    np.testing.assert_allclose(longest.p_EC, answers.p_EC[:1])  # for two options the same claim, the other pick
    assert longest.choice_E.tolist() == [1]


def test_words_and_characters_are_counted_apart():
    example = pair("incomprehensibilities", "a b c", (1, 1))
    assert simple.picks(example, simple.words, 1) == simple.picks(example, len, -1) == [0]
    assert simple.picks(example, simple.words, -1) == [1]


def test_a_rule_on_three_options_leaves_the_rest_to_the_others():
    train = [Example(str(i), "?", ("a", "bb", f"ccc{i}"), (6.0, 2.0, 2.0)) for i in range(20)]
    p = fit("fewest_characters", train).answer([Example("2", "?", ("xx", "x", "xx"), (1.0, 1.0, 1.0))]).p_EC[0]
    share = (1 / 3 + 20 * 0.6) / 21
    np.testing.assert_allclose(p, [(1 - share) / 2, share, (1 - share) / 2])


def test_the_prior_is_the_yardstick(rows):
    train, _, test = rows
    want = ceiling.mean_share(from_examples(test), ceiling.with_even_rows(from_examples(train)))
    np.testing.assert_array_equal(fit("prior", train).answer(test).p_EC, want.p_EC)


def test_the_prior_rules_out_nothing():
    """No training row has the third option; a zero would cost the log of the smallest number wherever somebody does."""
    train = [anecdote(str(i), (3.0, 2.0, 0.0)) for i in range(9)]
    p = fit("prior", train).answer([anecdote("x", (0.0, 0.0, 1.0))]).p_EC[0]
    np.testing.assert_allclose(p, [(9 * 0.6 + 1 / 3) / 10, (9 * 0.4 + 1 / 3) / 10, 1 / 30])


def test_stratified_picks_as_often_as_votes_and_claims_the_prior():
    train = [anecdote(str(i), (7.0, 2.0, 1.0)) for i in range(1000)]
    answers = fit("stratified", train).answer(train * 3)
    np.testing.assert_allclose(np.bincount(answers.choice_E) / 3000, [0.7, 0.2, 0.1], atol=0.02)
    np.testing.assert_allclose(answers.p_EC, np.tile([0.7, 0.2, 0.1], (3000, 1)), atol=1e-3)


@pytest.mark.parametrize("name", ["logistic_ranker", "style_ranker"])
def test_rankers_are_antisymmetric(name, rows):
    train, validation, test = rows
    answer = fit(name, train, validation).answer
    p = answer(test).p_EC
    swapped = answer([e._replace(options=e.options[::-1], counts=e.counts[::-1]) for e in test]).p_EC
    np.testing.assert_allclose(swapped, p[:, ::-1], atol=1e-12)
    assert p.std() > 0.01


def test_the_order_of_training_options_teaches_nothing(rows):
    train, validation, test = rows
    turned = [e._replace(options=e.options[::-1], counts=e.counts[::-1]) for e in train]
    p = fit("logistic_ranker", train, validation).answer(test).p_EC
    np.testing.assert_allclose(fit("logistic_ranker", turned, validation).answer(test).p_EC, p, atol=1e-3)


def test_soft_votes_are_weights():
    """One word decides, at 4 to 1: with a weak penalty the claim is 0.8, where hard labels would claim certainty."""
    train = [pair("good deed", f"bad deed{i % 2 * '.'}", (1, 4), str(i)) for i in range(200)]
    p = fit("logistic_ranker", train, train).answer([pair("bad deed", "good deed", (1, 1))]).p_EC[0]
    assert p[0] == pytest.approx(0.8, abs=0.03)


def test_a_classifier_reads_words_and_keeps_every_option():
    train = [
        anecdote(f"{w} {i}", c) for i in range(40) for w, c in (("dog", (4.0, 1.0, 0.0)), ("cat", (1.0, 4.0, 0.0)))
    ]
    p = fit("logistic", train, train[:10]).answer([anecdote("dog 7", (1.0, 0, 0)), anecdote("cat 7", (1.0, 0, 0))]).p_EC
    np.testing.assert_allclose(p[:, :2], [[0.8, 0.2], [0.2, 0.8]], atol=0.05)
    assert (p[:, 2] > 0).all()


class Embed:
    """States of three numbers: how good a deed is, and two that say nothing; counts what it reads."""

    def __init__(self):
        self.read = 0

    def __call__(self, texts):
        self.read += len(texts)
        return np.array([[2.0 * t.startswith("good") - 1, len(t) % 3, 100.0] for t in texts])


def test_a_probe_finds_what_states_know_and_swaps_with_its_options():
    train = [pair(f"good deed {i}", f"bad deed {i * 7}", (1, 4)) for i in range(200)]
    fitted = registry.BASELINES["frozen_states"].fit(Embed(), train, train[:50], 0)
    p = fitted.answer([pair("bad", "good", (1, 1)), pair("good", "bad", (1, 1)), pair("good", "good", (1, 1))]).p_EC
    np.testing.assert_allclose(p, [[0.8, 0.2], [0.2, 0.8], [0.5, 0.5]], atol=0.03)


def test_a_probe_of_the_same_options_reads_the_text():
    """Word counts know nothing of words that they have not seen; states do."""
    train = [
        anecdote(f"{w} {i}", c) for i in range(60) for w, c in (("good", (4.0, 1.0, 0.0)), ("bad", (1.0, 4.0, 0.0)))
    ]
    train = [e._replace(title="", text=e.text) for e in train]
    fitted = registry.BASELINES["frozen_states"].fit(Embed(), train, train[:20], 0)
    p = fitted.answer([anecdote("good x", (1.0, 0, 0))._replace(title="")]).p_EC
    np.testing.assert_allclose(p[0, :2], [0.8, 0.2], atol=0.05)


def test_a_frozen_model_belongs_to_what_a_run_records():
    train = [pair(f"good {i}", f"bad {i}", (1, 4)) for i in range(20)]
    reader = Reader(Embed(), {"path": "some/model"})
    respondent = BaselineRespondent("frozen_states", train, train, 0, 2.0, reader)
    assert respondent.about["frozen"] == {"path": "some/model"}
    assert "C" in respondent.about["fitted"]


def test_only_validation_rows_choose_the_penalty(rows):
    train, validation, test = rows
    fitted = fit("logistic_ranker", train, validation)
    losses = fitted.settings["validation cross-entropy by C"]
    assert losses[fitted.settings["C"]] == min(losses.values())
    t = from_examples(validation)
    loss = metrics.cross_entropy(t.replace(p_EC=fitted.answer(validation).p_EC)).mean()
    assert loss == pytest.approx(min(losses.values()))
    with pytest.raises(UserError, match="config.task.validation above 0"):
        fit("logistic_ranker", train)


def test_the_letter_i_is_a_word():
    assert "i" in text.tfidf(["I did", "you did"]).__self__.vocabulary_


@pytest.mark.parametrize(
    ("name", "train", "message"),
    [
        ("nearest", [pair("a", "b", (1, 1))], "no such baseline; there are prior, stratified"),
        ("fewest_words", [anecdote("x", (1, 1, 1))] * 2, "take prior, stratified, logistic, frozen_states$"),
        ("logistic", [pair("a", "b", (1, 1)), pair("c", "d", (1, 1))], "needs the same options in all rows"),
        ("prior", [], "no training rows"),
    ],
)
def test_rows_that_a_baseline_cannot_answer(name, train, message):
    with pytest.raises(UserError, match=message):
        registry.get(name, train)


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "c.py").write_text(
        "from moral_jax import config\n\ndef get_config():\n    c = config.default()\n    c.task.name = 'synthetic'\n"
        "    c.eval.bootstrap = 100\n    c.eval.best_draws = 10\n    return c\n"
    )
    return [f"--config={tmp_path / 'c.py'}", f"--workdir={tmp_path / 'run'}"]


def test_a_run_that_all_readers_read(arguments, tmp_path, capsys):
    assert main.main(["baseline", "fewest_words", *arguments]) == 0
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} == {
        "config.json", "provenance.json", "run.json", "answers", "report.html", "report.md", "lock",
    }  # fmt: skip
    assert len(read_jsonl(run / "answers" / "validation.jsonl")) == 30
    numbers = json.loads((run / "answers" / "metrics.json").read_text())
    assert numbers["rows"] == 60
    assert numbers["calibration"]["fixed_concentration"] == pytest.approx(
        read_jsonl(run / "answers" / "test.jsonl")[0]["concentration"]
    )
    assert {"choice_accuracy", "choice_macro_f1", "calibrated_cross_entropy"} <= set(numbers["metrics"])
    assert "baseline:fewest_words" in (run / "report.html").read_text()
    assert "| model " in (run / "report.md").read_text()
    page = (run / "report.html").read_text()
    assert main.main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page
    assert main.main(["baseline", "fewest_words", *arguments]) == 0  # the same again
    capsys.readouterr()
    assert main.main(["baseline", "prior", *arguments]) == 2
    assert "respondent.name: 'fewest_words' -> 'prior'" in capsys.readouterr().err


def test_its_run_answers_as_it_did(arguments, tmp_path, capsys):
    """A run has no weights here, but its config says who answered."""
    main.main(["eval", "--model=baseline:prior", *arguments])
    (tmp_path / "q.txt").write_text("Which? | a | b")
    capsys.readouterr()
    assert main.main(["ask", f"--run={tmp_path / 'run'}", "--json", str(tmp_path / "q.txt")]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    prior = read_jsonl(tmp_path / "run" / "answers" / "test.jsonl")[0]["probabilities"]
    assert answer["probabilities"] == pytest.approx(prior)


def test_real_dilemmas_ranker_beats_the_prior(dilemmas):
    rows = examples.dilemmas(dilemmas)
    train, validation, test = rows[:1500], rows[1500:1800], rows[1800:]
    p = fit("logistic_ranker", train, validation).answer(test).p_EC
    t = from_examples(test)
    assert metrics.cross_entropy(t.replace(p_EC=p)).mean() < metrics.cross_entropy(ceiling.mean_share(t, t)).mean()
