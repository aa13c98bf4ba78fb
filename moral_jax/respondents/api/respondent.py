"""A model behind an OpenAI-compatible API as a respondent.

It is asked for one token with the likeliest ones listed. Replies are kept in the cache folder, so what was asked once
is free, in another run too. What a question will cost is estimated before anything is sent.
"""

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from moral_jax.analysis.table import pad
from moral_jax.config.respondent import RespondentConfig
from moral_jax.config.task import PromptConfig
from moral_jax.prompts import render
from moral_jax.respondents.api import cost, prompts, replies
from moral_jax.respondents.api.client import Cache, Client, StoppedError, read_key
from moral_jax.runs.records import Asks, Bounds, Choices
from moral_jax.runtime import console
from moral_jax.runtime.files import cache_folder
from moral_jax.types import UserError

KEY = "OPENAI_API_KEY"
Body = dict[str, Any]


def url_of(config: RespondentConfig) -> str:
    """Returns the address that requests go to."""
    return config.base_url.rstrip("/") + prompts.ENDPOINTS[config.endpoint]


def request(config: RespondentConfig, question: prompts.Question) -> Body:
    """Returns a request for one token. At temperature 1 all servers list the model's own probabilities."""
    top = config.top_logprobs
    listed: Body = {"logprobs": True, "top_logprobs": top} if config.endpoint == "chat" else {"logprobs": top}
    return {"model": config.name, **question.body, "max_tokens": 1, "temperature": 1, **listed}


def ask_all(wanted: list[tuple[str, Body]], config: RespondentConfig, client: Client, cache: Cache) -> list:
    """Returns replies in the order of the requests; those in the cache are not asked for.

    Args:
      wanted: what to call each request in an error, and its body.
    """

    def one(name: str, body: Body) -> replies.Reply:
        try:
            reply = replies.parse(client.post(body), config.endpoint)
        except UserError as e:
            client.stop()
            raise UserError(f"row {name!r}: {e}") from None
        cache.put(client.url, body, reply)
        return reply

    done = {i: replies.Reply(*hit) for i, (_, body) in enumerate(wanted) if (hit := cache.get(client.url, body))}
    missing = [i for i in range(len(wanted)) if i not in done]
    with ThreadPoolExecutor(config.concurrency) as pool:
        try:
            futures: dict[Future, int] = {pool.submit(one, *wanted[i]): i for i in missing}
            for future in console.progress(as_completed(futures), total=len(missing), desc="asking", unit="request"):
                with contextlib.suppress(StoppedError):  # the request that failed says why
                    done[futures[future]] = future.result()
        finally:  # after Ctrl-C: requests under way come in and are kept, the others are not sent
            client.stop()
            pool.shutdown(cancel_futures=True)
    return [done[i] for i in range(len(wanted))]


class ApiRespondent:
    """Asks an API."""

    can = frozenset({"choose"})

    def __init__(
        self,
        config: RespondentConfig,
        prompt: PromptConfig,
        study_prompt: str | None,
        concentration: float,
        budget: cost.Budget,
    ):
        """Checks address, key and prompt.

        Args:
          study_prompt: which of the study's prompts fits the task, if any.
          concentration: of the Dirichlet distribution that the shares are read as.
          budget: what may be spent.

        Raises:
          UserError: no key, or a prompt that does not fit the endpoint.
        """
        self.config, self.concentration, self.budget = config, concentration, budget
        self.url = url_of(config)
        self.key = read_key(config.api_key_env, KEY, config.base_url)
        self.render = prompts.make(prompt, study_prompt, config.endpoint)
        self.shows_order = render.options_move(prompt, "vocabulary", study_prompt)
        self.cache = Cache(cache_folder() / "api")
        self.replies: list[replies.Reply] = []
        self._permitted = False

    @property
    def about(self) -> dict[str, Any]:
        """The service, and what it said of itself in its replies so far."""
        config = self.config
        return {
            "path": f"api:{config.name} at {self.url}, {config.top_logprobs} likeliest tokens",
            "name": config.name,
            "url": self.url,
            "answered as": sorted({r.model for r in self.replies}),
            "fingerprints": sorted({r.fingerprint for r in self.replies} - {""}),
            "prompt tokens": sum(r.prompt_tokens for r in self.replies),
            "completion tokens": sum(r.completion_tokens for r in self.replies),
        }

    def _questions(self, asks: Asks) -> list[prompts.Question]:
        return [self.render(asks.examples[i], order) for i, order in asks.items]

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Prints what is not in the cache yet and what it will cost.

        Raises:
          UserError: nobody gave permission to spend that.
        """
        bodies = [request(self.config, q) for asks in splits.values() for q in self._questions(asks)]
        unasked = [body for body in bodies if self.cache.get(self.url, body) is None]
        words, money = cost.estimate(unasked, self.budget)
        console.info(f"{self.about['path']}\n{len(bodies) - len(unasked)} replies are there; {words}")
        if unasked:
            cost.check(money, self.budget)
        self._permitted = True

    def choose(self, asks: Asks, what: str) -> Choices:
        """Asks in every order; shares come with bounds, as an API lists the likeliest tokens alone.

        Raises:
          UserError: the API refuses, or nobody gave permission to spend what this costs.
        """
        if not self._permitted:
            self.prepare({what: asks})
        questions = self._questions(asks)
        names = [asks.examples[i].id for i, _ in asks.items]
        wanted = [(name, request(self.config, q)) for name, q in zip(names, questions, strict=True)]
        with contextlib.closing(Client(self.url, self.key, self.config.timeout, self.config.retries)) as client:
            answered = ask_all(wanted, self.config, client, self.cache)
        self.replies += answered
        bounded = [replies.bounded(r.top, q.answers) for r, q in zip(answered, questions, strict=True)]
        width = max(len(b.mass_C) for b in bounded)
        with np.errstate(divide="ignore"):
            log_p_EC = np.log(pad([(b.mass_C / b.mass_C.sum()).tolist() for b in bounded], width))
        bounds = Bounds(
            low_EC=pad([b.low_C.tolist() for b in bounded], width),
            high_EC=pad([b.high_C.tolist() for b in bounded], width),
            missing_E=np.array([b.missing for b in bounded]),
            unseen=[b.unseen for b in bounded],
        )
        log_mass_E = np.log([min(b.mass_C.sum(), 1.0) for b in bounded])
        log_s_E = np.full(len(bounded), np.log(self.concentration))
        return Choices(log_p_EC, log_mass_E, log_s_E, bounds=bounds)
