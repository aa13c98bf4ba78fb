"""The turns of a conversation, for chat templates and for models without one."""

from collections.abc import Sequence

from moral_jax.config.task import PromptConfig
from moral_jax.types import Example


def turns(config: PromptConfig, example: Example, message: str) -> list[dict[str, str]]:
    """Returns the system message, the turns of the row, and the message, which may be empty.

    A system message of the row follows the config's in one turn, as chat templates take one.
    """
    system, messages = config.system, example.messages
    if system is not None and messages and messages[0]["role"] == "system":
        system, messages = f"{system}\n\n{messages[0]['content']}", messages[1:]
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, *messages, *([{"role": "user", "content": message}] if message else [])]


def lines(turns: Sequence[dict[str, str]]) -> list[str]:
    """Returns turns as "User: ..." for models without a chat template."""
    return [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
