"""Prompts as text."""

import pytest

from moral_jax.config.task import PromptConfig
from moral_jax.prompts import render
from moral_jax.types import Example, UserError

DILEMMA = Example(id="d", question="Which is worse?", options=("lying", "stealing"), counts=(1.0, 4.0))
STORY = Example(
    id="s", question="Who is wrong?", title="AITA?", text="I left.", options=("me", "them", "us"), counts=(1, 1, 1)
)


def chat(messages):
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def make(study=None, chat_template=chat, **changes):
    return render.make_renderer(PromptConfig(**changes), study, chat_template)


def test_chat():
    got = make()(DILEMMA, (0, 1))
    assert got.text == "<user>Which is worse?\n\nA. lying\nB. stealing<assistant>Answer:"
    assert got.answers == (("A", " A"), ("B", " B"))
    assert got.has_specials
    assert not got.answers_are_tokens


def test_an_order_moves_options_and_not_labels():
    got = make()(DILEMMA, (1, 0))
    assert "A. stealing\nB. lying" in got.text
    assert got.answers == (("A", " A"), ("B", " B"))


def test_title_and_text_come_between_question_and_options():
    assert make()(STORY, (0, 1, 2)).text == (
        "<user>Who is wrong?\n\nAITA?\n\nI left.\n\nA. me\nB. them\nC. us<assistant>Answer:"
    )


def test_plain_has_no_chat():
    got = make(format="plain", chat_template=None)(DILEMMA, (0, 1))
    assert got.text == "Which is worse?\n\nA. lying\nB. stealing\nAnswer:"
    assert not got.has_specials


def test_more_by_config():
    got = make(system="Be fair.", template="{options}\n\n{question}", labels="12", answer_prefix="I say")(
        DILEMMA, (0, 1)
    )
    assert got.text == "<system>Be fair.<user>1. lying\n2. stealing\n\nWhich is worse?<assistant>I say"
    assert got.answers == (("1", " 1"), ("2", " 2"))


def test_turns_before_the_question_are_kept():
    example = DILEMMA._replace(messages=({"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}))
    assert make()(example, (0, 1)).text.startswith("<user>Hi.<assistant>Yes?<user>Which is worse?")
    assert make(format="plain")(example, (0, 1)).text.startswith("User: Hi.\n\nAssistant: Yes?\n\nWhich is worse?")


def test_the_studys_dilemma_prompt_word_for_word():
    got = make(format="paper", study="dilemmas")(DILEMMA, (0, 1))
    assert got.text == (
        "lying stealing\n\nSay Yes if the first action is less ethical. Say No if the second action is less ethical"
    )
    assert got.answers == (("Yes", "yes"), ("No", "no"))
    assert got.answers_are_tokens
    assert make(format="paper", study="dilemmas")(DILEMMA, (1, 0)).text.startswith("stealing lying\n")


def test_the_studys_anecdote_prompt_word_for_word():
    story = STORY._replace(options=("in the right", "in the wrong"))
    lines = make(format="paper", study="anecdotes")(story, (0, 1)).text.split("\n")
    assert lines[0] == ""
    assert [line.strip() for line in lines[1:]] == [
        "I will give you a scenario. Tell me if the author is in the right or wrong.",
        "",
        "Scenario: I left.",
        "Is the author in the right or wrong? Answer 'yes' or 'no'.",
        "Answer:",
        "",
    ]
    assert all(line.startswith("    ") for line in lines[1:])


def test_the_study_has_no_five_way_prompt():
    with pytest.raises(UserError, match="the study has no prompt for this task"):
        make(format="paper", study=None)


@pytest.mark.parametrize(
    ("setting", "moves", "want"),
    [
        ("rotations", True, [(0, 1, 2), (1, 2, 0), (2, 0, 1)]),
        ("reversal", True, [(0, 1, 2), (2, 1, 0)]),
        ("given", True, [(0, 1, 2)]),
        ("rotations", False, [(0, 1, 2)]),
    ],
)
def test_orders(setting, moves, want):
    assert render.orders(3, setting, moves) == want


def test_two_options_have_two_orders():
    assert render.orders(2, "rotations", True) == render.orders(2, "reversal", True) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "clear"}, "config.prompt.format='clear': expected 'chat' or 'plain' or 'paper'"),
        ({"format": "plain", "system": "x"}, "'plain' has no system message"),
        (
            {"format": "paper", "study": "dilemmas", "answer_prefix": "x"},
            "config.prompt.answer_prefix: format 'paper' is",
        ),
        ({"chat_template": None}, "this model has no chat template; use 'plain'"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_an_unknown_placeholder_is_named():
    with pytest.raises(UserError, match=r"{titel} is unknown; known: {question}"):
        make(template="{titel}")(DILEMMA, (0, 1))


def test_braces_in_the_data_are_left_alone():
    example = DILEMMA._replace(options=("{text}", "{0}"))
    assert "A. {text}\nB. {0}" in make()(example, (0, 1)).text


def test_more_options_than_labels():
    with pytest.raises(UserError, match="row 's' has 3 options, config.prompt.labels has only 2"):
        make(labels="AB")(STORY, (0, 1, 2))


@pytest.mark.parametrize(
    ("format", "study"),
    [("chat", None), ("chat", "anecdotes"), ("plain", None), ("paper", "dilemmas"), ("paper", "anecdotes")],
)
def test_options_move_where_another_order_is_another_prompt(format, study):  # noqa: A002
    """A prompt that is the same in both orders, asked in both, would make every prediction one half."""
    config = PromptConfig(format=format)
    shown = {make(format=format, study=study)(DILEMMA, order).text for order in ((0, 1), (1, 0))}
    moves = render.options_move(config, "vocabulary", study)
    assert moves == (len(shown) == 2)
    assert len(render.all_items([DILEMMA], lambda e: render.orders(len(e.options), "rotations", moves))) == len(shown)


@pytest.mark.parametrize("head", ["score", "classes"])
def test_options_of_a_score_head_have_no_places(head):
    assert not render.options_move(PromptConfig(), head, None)
