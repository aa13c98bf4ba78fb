"""Which tokens of a text are read: replies and their ends, by a real tokenizer and its chat template."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moral_jax.config.task import PromptConfig
from moral_jax.data import encode
from moral_jax.data.read_texts import pieces
from moral_jax.data.tokens import Text
from moral_jax.prompts import chat, completions
from moral_jax.types import Example, UserError
from moral_jax.weights import tokenizer

TALK = (
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good morning."},
    {"role": "user", "content": "May I keep it?"},
)


@pytest.fixture(scope="module")
def bpe(smollm2):
    return tokenizer.load(smollm2)


def texts(words, example, template="its own", reads_all=True, **prompt):
    template = chat.renderer(words) if template == "its own" else template
    render = completions.replies(PromptConfig(**prompt), template, reads_all)
    return encode.encode(words, render(example, tuple(range(len(example.options))))).texts


def read(words, text):
    """Returns what is read of a text, one string for each stretch."""
    ids = np.where(text.reads_T, text.tokens_T, -1)
    stretches = np.split(ids, np.flatnonzero(np.diff(text.reads_T.astype(int))) + 1)
    return [words.decode(s) for s in stretches if s[0] >= 0]


def example(*options, **fields):
    return Example("1", "", options or ("No.",), (1.0,) * len(options or "1"), **fields)


def test_every_reply_is_read_to_the_end_of_its_turn(bpe):
    [text] = texts(bpe, example(messages=TALK))
    assert read(bpe, text) == ["Good morning.<|im_end|>", "No.<|im_end|>"]
    assert bpe.decode(text.tokens_T).endswith("No.<|im_end|>\n")
    assert bpe.pad_token_id == bpe.eos_token_id, "or this says nothing of masks that are made from ids"


def test_another_padding_token_changes_nothing(bpe):
    """No mask is made from token ids: SmolLM2's padding is its end of turn, which is read."""
    other = copy.deepcopy(bpe)
    other.pad_token = "<|endoftext|>"
    assert other.pad_token_id != bpe.pad_token_id
    for one in (example(messages=TALK), example("Yes.", "No.", messages=TALK), example("A story.")):
        reads_all = len(one.options) == 1
        for a, b in zip(texts(bpe, one, reads_all=reads_all), texts(other, one, reads_all=reads_all), strict=True):
            np.testing.assert_array_equal(a.tokens_T, b.tokens_T)
            np.testing.assert_array_equal(a.reads_T, b.reads_T)
            assert bpe.eos_token_id in b.tokens_T[b.reads_T]


def test_the_last_reply_alone(bpe):
    [text] = texts(bpe, example(messages=TALK), reads_all=False)
    assert read(bpe, text) == ["No.<|im_end|>"]


@pytest.mark.parametrize(
    ("reads_all", "want"), [(True, [" Good morning.", " No.<|im_end|>"]), (False, [" No.<|im_end|>"])]
)
def test_plain_turns(bpe, reads_all, want):
    [text] = texts(bpe, example(messages=TALK), template=None, reads_all=reads_all)
    assert read(bpe, text) == want
    said = "User: Hello\n\nAssistant: Good morning.\n\nUser: May I keep it?\n\nAssistant: No.<|im_end|>"
    assert bpe.decode(text.tokens_T) == said


def test_every_option_is_a_reply_to_the_same_prompt(bpe):
    yes, no = texts(bpe, example("Yes.", "No, never.", messages=TALK), reads_all=False)
    assert (read(bpe, yes), read(bpe, no)) == (["Yes.<|im_end|>"], ["No, never.<|im_end|>"])
    begins = np.argmax(yes.reads_T)
    assert (yes.tokens_T[:begins] == no.tokens_T[:begins]).all()


@pytest.mark.parametrize("template", ["its own", None])
def test_a_document_is_read_whole_whatever_the_format(bpe, template):
    [text] = texts(bpe, example("A story.\n\nIts end."), template)
    assert text.reads_T.tolist() == [False] + [True] * (len(text.tokens_T) - 1)
    assert text.tokens_T[-1] == bpe.eos_token_id
    assert bpe.decode(text.tokens_T[:-1]) == "A story.\n\nIts end."


def test_a_bare_prompt_and_its_completion(bpe):
    [text] = texts(bpe, example(" in Paris.", text="She lives"), None)
    assert bpe.decode(text.tokens_T) == "She lives in Paris.<|im_end|>"
    assert read(bpe, text) == [" in Paris.<|im_end|>"]


def test_turns_without_a_template(bpe):
    [text] = texts(bpe, example(messages=TALK), None, reads_all=False)
    shown = "User: Hello\n\nAssistant: Good morning.\n\nUser: May I keep it?\n\nAssistant: No."
    assert bpe.decode(text.tokens_T[:-1]) == shown
    assert read(bpe, text) == [" No.<|im_end|>"]


@pytest.mark.parametrize("renderer", [completions.replies, completions.option_texts])
def test_a_system_message_without_a_chat_is_refused(renderer):
    more = {"reads_all": False} if renderer is completions.replies else {}
    with pytest.raises(UserError, match="format 'plain' has no system message"):
        renderer(PromptConfig(system="Be kind."), None, **more)


def test_a_border_inside_a_token_is_refused(bpe):
    with pytest.raises(UserError, match="lies inside a token of this tokenizer: 'She lives ' .* 'in Paris'"):
        texts(bpe, example("in Paris", text="She lives "), None)


def test_a_template_that_changes_earlier_turns_is_refused(bpe):
    """As those do that leave out the thoughts of all replies but the last."""

    def forgets(messages, *, begins_answer=True):
        shown = [m for i, m in enumerate(messages) if m["role"] == "user" or i == len(messages) - 1]
        return "".join(f"{m['role']}:\n{m['content']}<|im_end|>" for m in shown) + "assistant:\n" * begins_answer

    with pytest.raises(UserError, match="writes turn 2 of this conversation differently once others follow"):
        texts(bpe, example(messages=TALK), forgets)
    [text] = texts(bpe, example(messages=TALK), forgets, reads_all=False)
    assert read(bpe, text) == ["No.<|im_end|>"]


def test_a_template_without_an_end_of_turn_is_refused(bpe):
    def endless(messages, *, begins_answer=True):
        return "".join(f"\n{m['role']}:\n{m['content']}" for m in messages) + "\nassistant:\n" * begins_answer

    with pytest.raises(UserError, match="which is no end token, so that the model would never learn to stop"):
        texts(bpe, example(messages=TALK), endless, reads_all=False)


def test_control_tokens_in_a_text_are_text(bpe):
    from moral_jax.data import control

    marked = control.example_as_text(example("No.<|im_end|> Yes."), control.pattern(bpe))
    [text] = texts(bpe, marked)
    assert (text.tokens_T == bpe.eos_token_id).sum() == 1
    assert bpe.decode(text.tokens_T[:-1]) == "No.<|im_end|> Yes."


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(3, 20))
def test_pieces_read_every_token_once(reads, longest):
    reads[0] = False
    text = Text(np.arange(len(reads), dtype=np.int32), np.zeros(len(reads), np.int32), np.array(reads))
    parts = pieces(text, longest)
    assert all(2 <= len(p.tokens_T) <= longest for p in parts)
    seen = [int(token) for p in parts for token in p.tokens_T[p.reads_T]]
    assert seen == [i for i, is_read in enumerate(reads) if is_read]
    for p in parts:  # each token that is read follows the one that it follows in the text
        np.testing.assert_array_equal(np.diff(p.tokens_T), 1)


def test_a_long_document_is_cut_into_pieces(bpe):
    long = example("word " * 100)
    render = completions.replies(PromptConfig(), None, reads_all=True)
    limits = encode.Limits(40, 4096, shares=True)
    parts, cut = encode.fit(bpe, lambda e: render(e, (0,)), long, limits)
    assert cut
    assert sum(p.reads for p in parts) == encode.encode(bpe, render(long, (0,))).reads
    assert max(p.length for p in parts) == 40
    ends = [int(p.texts[0].tokens_T[-1]) == bpe.eos_token_id for p in parts]
    assert ends == [False] * (len(parts) - 1) + [True], "only where the document ends is its end learned"


def test_a_pair_that_is_too_long_is_refused(bpe):
    render = completions.replies(PromptConfig(), None, reads_all=False)
    limits = encode.Limits(40, 4096, shares=True)
    long = example(" yes", " no", text="word " * 60 + "end")
    shortened, cut = encode.fit(bpe, lambda e: render(e, (0, 1)), long, limits)
    assert cut
    assert shortened[0].length - len(shortened[0].texts[0].tokens_T) < 40
    with pytest.raises(encode.TooLongError, match="on_bad_row=drop"):
        encode.fit(bpe, lambda e: render(e, (0, 1)), example(" word" * 50, " no" * 50, text="a"), limits)
