"""Settings of who answers: weights on this machine, or something else."""

import dataclasses
import urllib.parse
from collections.abc import Sequence
from typing import Annotated, Literal

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, POSITIVE, check, check_fields, check_unread
from moral_jax.types import UserError

OF_AN_API = ("base_url", "endpoint", "top_logprobs", "api_key_env", "concurrency", "timeout", "retries")
KINDS = ("api", "baseline", "scripted")  # what may stand before the colon of --model=KIND:NAME


@dataclasses.dataclass(frozen=True)
class RespondentConfig:
    """Who answers."""

    kind: Literal["local", "api", "baseline", "scripted"] = "local"
    """local (config.model on this machine), api (a model behind an OpenAI-compatible API that lists log-probabilities),
    baseline (priors, rules and bags of words, fitted to the training rows), scripted (a rule that reads nothing)."""
    name: str | None = None
    """Which one: the API's name of the model, a baseline, or a scripted respondent."""
    base_url: str = "https://api.openai.com/v1"
    """Address of the API."""
    endpoint: Literal["chat", "completions"] = "chat"
    """How the API is asked."""
    top_logprobs: Annotated[int, AT_LEAST_1] = 20
    """Likeliest tokens that the API is asked to list."""
    api_key_env: str | None = None
    """Environment variable with the key; default: OPENAI_API_KEY, if set."""
    concurrency: Annotated[int, AT_LEAST_1] = 8
    """Requests at a time."""
    timeout: Annotated[float, POSITIVE] = 60.0
    """Seconds a request may take."""
    retries: Annotated[int, AT_LEAST_0] = 6
    """Attempts after a request has failed."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind == "local":
            check(self, "name", self.name is None, "none, because config.respondent.kind is 'local'")
        else:
            check(self, "name", bool(self.name), f"the name of the {self.kind} respondent")
        if self.kind != "api":
            check_unread(self, OF_AN_API, f"config.respondent.kind is {self.kind!r}, which asks no API")
        else:
            _check_url(self.base_url)
            if self.api_key_env and not self.api_key_env.isidentifier():
                raise UserError(
                    "--api-key-env: expected the name of an environment variable, such as OPENAI_API_KEY; the key "
                    "itself would be written down"
                )


def _check_url(url: str) -> None:
    """Refuses an address that is none, or that holds more than a place; never says a secret in it."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_place = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise UserError("--base-url: cannot be read as a URL, such as https://api.openai.com/v1") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError("--base-url: holds a user, a password or a query, which would be written down; leave them out")
    if not is_place:
        raise UserError(f"--base-url={url}: expected http(s)://HOST/PATH, such as https://api.openai.com/v1")


def model_flags(model: str) -> list[str]:
    """Returns --model=MODEL as fields: KIND:NAME names a respondent of that kind, anything else is a path."""
    kind, _, name = model.partition(":")
    kind = {"agent": "scripted"}.get(kind, kind)  # how the literature calls them
    if kind in KINDS:
        return [f"--config.respondent.kind={kind}", f"--config.respondent.name={name}"]
    return [f"--config.model.path={model}"]


def respondent_flags(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the flags of an evaluation into fields of the config, in their long form, and all other flags.

    --model=api:NAME, --api-model=NAME (version 0.1) and --base-url=URL, --top-logprobs=N, ... are fields.
    """
    fields: list[str] = []
    others: list[str] = []
    for flag in flags:
        name, _, value = flag.removeprefix("--").partition("=")
        field = name.replace("-", "_")
        if name == "model":
            fields += model_flags(value)
        elif name == "api-model":
            fields += model_flags(f"api:{value}")
        elif flag.startswith("--") and field in OF_AN_API:
            fields.append(f"--config.respondent.{field}={value}")
        else:
            others.append(flag)
    return fields, others
