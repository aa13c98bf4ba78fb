"""What chat templates write: it depends on the messages alone, and ends where the answer begins."""

import datetime
import signal

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from moral_jax.prompts import chat
from moral_jax.types import UserError

ASK = [{"role": "user", "content": "Was it wrong?"}]
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
BEGINS = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


def renderer(template):
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    words.chat_template = template
    return chat.renderer(words)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("strftime_now('%d %b %Y')", "26 Jul 2024"),
        ("strftime_now('%Y-%m-%d %H:%M %%')", "2024-07-26 00:00 %"),
        ("(strftime_now('%-d')|int) + 1", "27"),
        ("'said' if strftime_now is defined else 'unknown'", "said"),
    ],
)
@pytest.mark.fault("a chat template that says today's date", promise="every day the same prompt")
def test_every_day_is_the_same(asked, said):
    template = f"\n{{%- set day = {asked} %}}{{% if true %}}{{{{ day }}}}{{% endif %}} {TURNS}{BEGINS}"
    assert renderer(template)(ASK) == f"{said} <|user|>Was it wrong?<|end|><|assistant|>"


def test_todays_date_is_what_a_template_would_say_by_itself():
    """The tests above would pass on the day that is taken for all."""
    assert datetime.date.today() != chat.TODAY.date()


@pytest.mark.parametrize("draws", ["range(10**5)|random", "lipsum(n=1)"])
def test_draws_are_the_same(draws):
    said = {renderer(f"{{{{ {draws} }}}} {TURNS}{BEGINS}")(ASK) for _ in range(3)}
    assert len(said) == 1


@pytest.mark.fault(
    "a chat template that takes long for each prompt", promise="refused once all prompts together have taken too long"
)
def test_time_is_counted_over_all_prompts(monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0.3)
    slow = "{% for i in range(40) %}{% for j in range(9**5) %}{% endfor %}{% endfor %}"
    render = renderer(TURNS + BEGINS + "{% if messages[0].content == 'slow' %}" + slow + "{% endif %}")
    render(ASK)

    def many():
        for _ in range(400):  # machines differ: so many take seconds on any
            render([{"role": "user", "content": "slow"}])

    with pytest.raises(UserError, match="it takes longer than"):
        many()


@pytest.mark.parametrize(
    ("template", "end", "between"),
    [
        (TURNS, "<|end|>", "<|end|><|assistant|>"),
        ("{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}", "", "[assistant]"),
        (TURNS.replace("<|end|>", "") + "</s>", "</s>", "<|assistant|>"),
    ],
)
@pytest.mark.fault(
    "a chat template that does not begin the answer",
    promise="refused, with what a question ends with and what is missing",
)
def test_a_template_that_does_not_begin_the_answer_is_refused(template, end, between):
    with pytest.raises(UserError) as e:
        renderer(template)(ASK)
    assert f"a question ends with {end!r}, and before answers stands {between!r}" in str(e.value)


@pytest.mark.parametrize(
    "template",
    [
        TURNS + BEGINS,
        # Llama 2, which needs none; and templates that take no turn of the assistant's
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>"
        "{% endif %}{% endfor %}",
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
        "{% endfor %}",
    ],
)
def test_a_template_that_does_is_not(template):
    assert ASK[0]["content"] in renderer(template)(ASK)


def test_several_templates():
    by_name = {"default": TURNS + BEGINS, "tools": "x"}
    assert renderer(by_name)(ASK) == "<|user|>Was it wrong?<|end|><|assistant|>"
    with pytest.raises(UserError, match="cannot be chosen"):
        renderer({"tools": "x", "rag": "y"})(ASK)


class Words:
    """Stands for a tokenizer."""

    chat_template = "x"

    def get_chat_template(self):
        return self.chat_template

    def __init__(self, fails):
        self.fails = fails

    def apply_chat_template(self, messages, **_):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        if self.fails:
            raise ValueError("no")
        return f"<user>{messages[-1]['content']}<assistant>"


@pytest.mark.parametrize("fails", [False, True])
def test_no_alarm_is_left_to_go_off_later(fails):
    before = signal.getsignal(signal.SIGALRM)
    render = chat.renderer(Words(fails))
    if fails:
        with pytest.raises(UserError, match="chat template failed"):
            render(ASK)
    else:
        assert render(ASK) == "<user>Was it wrong?<assistant>"
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == before
