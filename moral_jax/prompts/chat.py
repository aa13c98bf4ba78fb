"""Chat templates: programs of whoever made the model, run in Jinja's sandbox and within limits."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jinja2
from transformers import PreTrainedTokenizerBase

from moral_jax.prompts.render import ChatTemplate
from moral_jax.types import UserError

SECONDS = 10.0  # honest templates take a millisecond
LONGEST = 1_000_000  # characters that a template may add
FAILURES = (  # what templates raise: Jinja's own errors, and those of the operators and filters that they use
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends what takes longer, where that is possible: in the main thread, which reads all prompts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def renderer(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """Turns messages into text up to where the assistant's turn begins; None where the model has no such template.

    The template is somebody else's program: Jinja's sandbox keeps it from everything but the messages, and what it
    does wrong, too slowly or against the sandbox is a UserError.
    """
    if tokenizer.chat_template is None:
        return None

    def render(messages: list[dict[str, str]]) -> str:
        try:
            with _at_most(SECONDS):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except FAILURES as e:
            said = " ".join(str(e).split())[:300]
            raise UserError(
                f"the model's chat template failed ({type(e).__name__}: {said}); correct it in the tokenizer's folder, "
                f"or use --config.prompt.family=plain"
            ) from e
        assert isinstance(text, str), "of one conversation, with tokenize=False"
        if len(text) > LONGEST + sum(len(m["content"]) for m in messages):
            raise UserError(
                f"the model's chat template adds {len(text)} characters to a question; correct it in the tokenizer's "
                f"folder, or use --config.prompt.family=plain"
            )
        if messages[-1]["content"].strip() not in text:
            raise UserError(
                "the model's chat template leaves the question out; correct it in the tokenizer's folder, or use "
                "--config.prompt.family=plain"
            )
        return text

    return render
