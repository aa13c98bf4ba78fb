"""What is sent: the prompts of `data.render` as chat messages or as text to be completed."""

from collections.abc import Callable
from typing import Any, NamedTuple

from moral_jax.config.task import PromptConfig
from moral_jax.prompts import render
from moral_jax.types import Example, UserError

ENDPOINTS = {"chat": "/chat/completions", "completions": "/completions"}


class Question(NamedTuple):
    """One question in one order."""

    body: dict[str, Any]  # the part of the request that holds the prompt
    answers: tuple[tuple[str, ...], ...]  # per shown option: the tokens that stand for it


Ask = Callable[[Example, tuple[int, ...]], Question]


def instruction(answers: tuple[tuple[str, ...], ...]) -> str:
    """ "Reply with A or B alone.": where a model of ours gets the beginning of its answer (the cue), a chat API lets
    nobody speak for the model, so the message itself says what the answer begins with."""
    *most, last = [variants[0] for variants in answers]
    return f"Reply with {', '.join(most)} or {last} alone."


def _chat_clean(config: PromptConfig) -> Ask:
    if config.cue is not None:
        raise UserError(
            f"config.prompt.cue={config.cue!r}: a chat endpoint cannot begin the model's answer; pass "
            f"--config.prompt.cue=none, or --endpoint=completions with --config.prompt.family=plain"
        )

    def ask(example: Example, order: tuple[int, ...]) -> Question:
        messages, answers = render.conversation(config, example, order)
        last = messages[-1] | {"content": f"{messages[-1]['content']}\n\n{instruction(answers)}"}
        return Question({"messages": [*messages[:-1], last]}, answers)

    return ask


def _chat_paper(config: PromptConfig, study_prompt: str | None) -> Ask:
    text = _completions(render.paper(config, study_prompt))

    def ask(example: Example, order: tuple[int, ...]) -> Question:
        question = text(example, order)
        return Question({"messages": [{"role": "user", "content": question.body["prompt"]}]}, question.answers)

    return ask


def _completions(renderer: render.Renderer) -> Ask:
    def ask(example: Example, order: tuple[int, ...]) -> Question:
        rendered = renderer(example, order)
        return Question({"prompt": rendered.text}, rendered.answers)

    return ask


def make(config: PromptConfig, study_prompt: str | None, endpoint: str) -> Ask:
    """Picks how a question is asked.

    Raises:
      UserError: the family does not fit the endpoint (chat: clean, paper; completions: plain, paper).
    """
    if endpoint == "chat" and config.family == "clean":
        return _chat_clean(config)
    if endpoint == "chat" and config.family == "paper":
        return _chat_paper(config, study_prompt)
    if endpoint == "completions" and config.family != "clean":
        return _completions(render.make_renderer(config, study_prompt, None))
    other = "clean" if endpoint == "chat" else "plain"
    raise UserError(
        f"config.prompt.family={config.family!r}: not for --endpoint={endpoint}; pass --config.prompt.family={other}, "
        f"or the other endpoint"
    )
