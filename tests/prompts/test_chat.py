"""Chat templates leave nothing behind in the process that runs them."""

import signal

import pytest

from moral_jax.prompts import chat
from moral_jax.types import UserError

TURNS = [{"role": "user", "content": "Is it wrong?"}]


class Words:
    """Stands for a tokenizer."""

    chat_template = "x"

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
            render(TURNS)
    else:
        assert render(TURNS) == "<user>Is it wrong?<assistant>"
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == before
