"""The prompts of `prompts.render` as chat messages, or as text to be completed."""

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
    """Returns "Reply with A or B alone."

    A local model is given the beginning of its answer. A chat API lets nobody speak for the model, so the message
    itself says what the answer begins with.
    """
    *most, last = [variants[0] for variants in answers]
    return f"Reply with {', '.join(most)} or {last} alone."


def _chat_turns(config: PromptConfig) -> Ask:
    if config.answer_prefix is not None:
        raise UserError(
            f"config.prompt.answer_prefix={config.answer_prefix!r}: a chat endpoint cannot begin the model's answer; "
            f"pass --config.prompt.answer_prefix=none, or --endpoint=completions with --config.prompt.format=plain"
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


def _completions(renderer: render.OnePrompt) -> Ask:
    def ask(example: Example, order: tuple[int, ...]) -> Question:
        rendered = renderer(example, order)
        return Question({"prompt": rendered.text}, rendered.answers)

    return ask


def make(config: PromptConfig, study_prompt: str | None, endpoint: str) -> Ask:
    """Returns how a question is asked.

    Raises:
      UserError: the format does not fit the endpoint (chat: chat, paper; completions: plain, paper).
    """
    format_ = config.format_for("vocabulary")
    if endpoint == "chat" and format_ == "chat":
        return _chat_turns(config)
    if endpoint == "chat" and format_ == "paper":
        return _chat_paper(config, study_prompt)
    if endpoint == "completions" and format_ != "chat":
        return _completions(render.make_renderer(config, study_prompt, None))
    other = "chat" if endpoint == "chat" else "plain"
    raise UserError(
        f"config.prompt.format={format_!r}: not for --endpoint={endpoint}; pass --config.prompt.format={other}, "
        f"or the other endpoint"
    )
