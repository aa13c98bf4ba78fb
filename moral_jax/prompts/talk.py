"""The turns of a conversation, for chat templates and for models without one."""

from collections.abc import Sequence

from moral_jax.config.task import PromptConfig
from moral_jax.types import Example


def turns(config: PromptConfig, example: Example, message: str) -> list[dict[str, str]]:
    """Returns the system message, the turns of the row, and the message, which may be empty."""
    system = [{"role": "system", "content": config.system}] if config.system is not None else []
    return [*system, *example.messages, *([{"role": "user", "content": message}] if message else [])]


def lines(turns: Sequence[dict[str, str]]) -> list[str]:
    """Returns turns as "User: ..." for models without a chat template."""
    return [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
