"""Chat templates: programs of whoever made the model, run in Jinja's sandbox and within limits.

What a template writes depends on the messages alone. It may ask for today's date, which is the same one every day here
(`_dated`), and draw at random, which gives the same draws for every prompt (`_same_draws`).
"""

import contextlib
import datetime
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator

import jinja2
from transformers import PreTrainedTokenizerBase

from moral_jax.prompts.render import ChatTemplate
from moral_jax.types import UserError

SECONDS = 10.0  # honest templates take a millisecond
SECONDS_EACH = 0.05  # on the average of many prompts
MEMORY = 2**30  # bytes that a template may take
LONGEST = 1_000_000  # characters that a template may add
FAILURES = (  # what templates raise: Jinja's own errors, and those of the operators and filters that they use
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
REMEDY = "correct it in the tokenizer's folder, or use --config.prompt.format=plain"
TODAY = datetime.datetime(2024, 7, 26)  # what Llama 3's templates take where they are told no date
CODES = [f"%{flag}{code}" for flag in ("", "-") for code in "aAbBcdHIjmMpSUwWxXyY"] + ["%%"]


class _LateError(BaseException):
    """The time is over. Not an Exception, as Jinja's optimizer catches those and goes on."""


def _mapped_bytes() -> int | None:
    """Returns the size of this process's address space; None where the system does not say."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends what takes longer or more memory, where that is possible: in the main thread, which reads all prompts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise _LateError

    limits, mapped = resource.getrlimit(resource.RLIMIT_AS), _mapped_bytes()
    before = signal.signal(signal.SIGALRM, late)
    try:
        if mapped is not None and not 0 <= limits[0] <= mapped + MEMORY:
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, limits[1]))
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
        yield
    except _LateError:
        raise TimeoutError(f"it takes longer than {seconds:.3g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextlib.contextmanager
def _same_draws() -> Iterator[None]:
    """Gives Jinja's `random` and `lipsum` the same draws each time."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _dated(template: str) -> str:
    """Returns a template in which `strftime_now`, if it is used, formats TODAY.

    Otherwise a run that is resumed on another day would go on with other prompts.
    """
    if "strftime_now" not in template:
        return template
    values = [(code, TODAY.strftime(code)) for code in CODES]
    return (
        "{%- macro strftime_now(format) -%}{%- set date = namespace(text=format) -%}"
        f"{{%- for code, value in {values} -%}}"
        "{%- set date.text = date.text|replace(code, value) -%}{%- endfor -%}{{ date.text }}{%- endmacro -%}{{ '' }}"
        f"{template}"
    )


class _Template:
    """A model's chat template, with the time that it has left."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        try:
            self.template = _dated(tokenizer.get_chat_template())
        except ValueError as e:  # several by name, and none is the default
            raise UserError(f"the model's chat template cannot be chosen ({e}); {REMEDY}") from e
        self.tokenizer, self.left = tokenizer, SECONDS

    def __call__(self, messages: list[dict[str, str]], *, begins_answer: bool) -> str:
        """Returns messages as text, on request up to where the assistant's turn begins.

        Raises:
          UserError: whatever the template does wrong, too slowly or against the sandbox.
        """
        began = time.monotonic()
        try:
            with _at_most(self.left), _same_draws():
                text = self.tokenizer.apply_chat_template(
                    messages, chat_template=self.template, tokenize=False, add_generation_prompt=begins_answer
                )
        except FAILURES as e:
            said = " ".join(str(e).split())[:300]
            raise UserError(f"the model's chat template failed ({type(e).__name__}: {said}); {REMEDY}") from e
        self.left = min(SECONDS, self.left + SECONDS_EACH - (time.monotonic() - began))
        assert isinstance(text, str), "of one conversation, with tokenize=False"
        return text


def _check_begins_answer(template: _Template) -> None:
    """Refuses a template after which an answer would stand in nobody's turn.

    Some know no `add_generation_prompt`. That is right where the end of a question begins the answer, as [/INST] does
    in Llama 2: there an answer follows at once in a conversation too.
    """
    question, answer = {"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "ANSWER"}
    try:
        prompt, ended = (template([question], begins_answer=begins) for begins in (True, False))
        talk = template([question, answer], begins_answer=False)
    except UserError:  # it takes no such talk
        return
    _, found, end = prompt.rpartition("QUESTION")
    _, found_again, rest = talk.rpartition("QUESTION")
    end, between = end.strip(), rest.partition("ANSWER")[0].strip()
    if prompt == ended and found and found_again and end != between:
        raise UserError(
            f"the model's chat template does not begin the assistant's turn: a question ends with {end!r}, and before "
            f"answers stands {between!r}; write that under {{% if add_generation_prompt %}}, or use "
            f"--config.prompt.format=plain"
        )


def renderer(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """Returns what turns messages into text, on request up to where the assistant's turn begins; None without a chat
    template.

    The template is somebody else's program: Jinja's sandbox keeps it from everything but the messages.
    """
    if tokenizer.chat_template is None:
        return None
    template: _Template | None = None

    def render(messages: list[dict[str, str]], *, begins_answer: bool = True) -> str:
        nonlocal template
        is_first, template = template is None, template or _Template(tokenizer)
        text = template(messages, begins_answer=begins_answer)
        if len(text) > LONGEST + sum(len(m["content"]) for m in messages):
            raise UserError(f"the model's chat template adds {len(text)} characters to a question; {REMEDY}")
        if messages[-1]["content"].strip() not in text:
            raise UserError(f"the model's chat template leaves the question out; {REMEDY}")
        if is_first:
            _check_begins_answer(template)
        return text

    return render
