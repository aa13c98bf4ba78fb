"""Renders texts that are read token by token: replies to a conversation, completions of a prompt, documents.

Which part of a text is read follows from comparing renderings: a reply is what a conversation with it has more than the
conversation that waits for it. So no chat template needs marks of its own. A template that writes earlier turns
differently once later ones follow has no such part, and is refused.
"""

from collections.abc import Callable

from moral_jax.config.task import PromptConfig
from moral_jax.prompts import render, talk
from moral_jax.prompts.render import ChatTemplate, Renderer, Scored, fill
from moral_jax.prompts.written import Span, Written
from moral_jax.types import Example, UserError

QUESTION_TEMPLATE = "{question}\n\n{title}\n\n{text}"
Turn = dict[str, str]
ASSISTANT = "assistant"


def _message(config: PromptConfig, example: Example) -> str:
    """Returns the message that the completions answer; empty where the conversation has all."""
    values = {"question": example.question, "title": example.title, "text": example.text}
    if config.template is None and not (example.question or example.title):
        return example.text  # as it is: a completion may follow its last blank
    return fill(config.template or QUESTION_TEMPLATE, values) if any(values.values()) else ""


def is_document(example: Example) -> bool:
    """Returns true for a text that follows nothing."""
    return not (example.messages or example.question or example.title or example.text)


def _document(text: str) -> tuple[Span, ...]:
    return (Span(text, True),)


def _chat_spans(turns: list[Turn], reads: list[bool], template: ChatTemplate) -> tuple[Span, ...]:
    """Returns a conversation, of which some of the assistant's turns are read.

    Args:
      reads: for each turn whether it is read.
    """
    whole, spans, at = template(turns, begins_answer=False), [], 0
    for i, reads_turn in enumerate(reads):
        if not reads_turn:
            continue
        before, after = template(turns[:i], begins_answer=True), template(turns[: i + 1], begins_answer=False)
        if not (whole.startswith(before) and whole.startswith(after) and at <= len(before) < len(after)):
            raise UserError(
                f"the model's chat template writes turn {i + 1} of this conversation differently once others follow, "
                f"so it cannot be told which tokens are the reply; keep the last reply only "
                f"(--config.task.replies=last), or use --config.prompt.format=plain"
            )
        reply = whole[len(before) : len(after)].rstrip()  # blanks after the end of a turn belong to the next one
        spans += [Span(whole[at : len(before)], False), Span(reply, True)]
        at = len(before) + len(reply)
    return tuple(span for span in (*spans, Span(whole[at:], False)) if span.text)


def _plain_spans(turns: list[Turn], reads: list[bool]) -> tuple[Span, ...]:
    """Returns a conversation as lines "User: ...", of which some turns are read.

    Args:
      reads: for each turn whether it is read.
    """
    spans, before = [], ""
    for line, turn, is_read in zip(talk.lines(turns), turns, reads, strict=True):
        if is_read:
            said = f" {turn['content']}"
            spans += [Span(before + line.removesuffix(said), False), Span(said, True)]
            before = "\n\n"
        else:
            before += f"{line}\n\n"
    return tuple(spans)


def replies(config: PromptConfig, chat_template: ChatTemplate | None, reads_all: bool) -> Renderer:
    """Returns the renderer of texts: each option is a reply to the conversation, a completion, or a document.

    Args:
      chat_template: of the model; None if it has none, or if texts are written plainly.
      reads_all: True if the assistant's turns before the last one are read too.
    """

    if chat_template is None:
        render.check_no_system(config)

    def write(example: Example, order: tuple[int, ...]) -> Written:
        options = [example.options[i] for i in order]
        if is_document(example):
            return Written(tuple(map(_document, options)), has_specials=False, adds_end=True)
        if chat_template is None and not example.messages:
            prompt = Span(_message(config, example), False)
            bare = tuple((prompt, Span(option, True)) for option in options)
            return Written(bare, has_specials=False, adds_end=True)
        opening = talk.turns(config, example, _message(config, example))
        reads = [*(reads_all and turn["role"] == ASSISTANT for turn in opening), True]
        talks = ([*opening, {"role": ASSISTANT, "content": option}] for option in options)
        if chat_template is None:
            return Written(tuple(_plain_spans(talk, reads) for talk in talks), has_specials=False, adds_end=True)
        spans = tuple(_chat_spans(talk, reads, chat_template) for talk in talks)
        return Written(spans, has_specials=True, adds_end=False, ends_turns=True)

    return write


def scored_replies(config: PromptConfig, chat_template: ChatTemplate | None) -> Renderer:
    """Returns the renderer of the same texts for a score head, which reads the last token of each whole text."""
    reply = replies(config, chat_template, reads_all=False)

    def write(example: Example, order: tuple[int, ...]) -> Scored:
        written = reply(example, order)
        assert isinstance(written, Written)
        texts = tuple((text.rstrip(),) for (text,) in written.texts)
        return Scored(texts, rows=(0,) * len(order), reads_last=True, has_specials=written.has_specials)

    return write


def option_texts(config: PromptConfig, prompt_of: Callable[[list[Turn]], str] | None) -> Renderer:
    """Returns the renderer of questions whose options are read as whole texts after one prompt that shows none.

    Args:
      prompt_of: the model's chat template; None for plain text.
    """
    prefix = render.answer_prefix(config)
    if prompt_of is None:
        render.check_no_system(config)

    def write(example: Example, order: tuple[int, ...]) -> Written:
        if prompt_of is None:
            message = _message(config, example)
            prompt = "\n\n".join([*talk.lines(example.messages), f"{message}\n{prefix}" if message else prefix])
        else:
            prompt = prompt_of(talk.turns(config, example, _message(config, example))) + prefix
        space = "" if not prefix or prompt[-1:].isspace() else " "
        spans = tuple((Span(prompt, False), Span(space + example.options[i], True)) for i in order)
        return Written(spans, has_specials=prompt_of is not None, adds_end=False)

    return write
