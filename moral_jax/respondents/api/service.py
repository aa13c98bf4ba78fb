"""From a config and an API to a run directory like any other."""

import contextlib
import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.config import Config, flags
from moral_jax.config.model import API
from moral_jax.prompts import render
from moral_jax.report import page
from moral_jax.respondents.api import cost, prompts, replies
from moral_jax.respondents.api.client import Cache, Client, StoppedError, check_url, read_key
from moral_jax.runs import directory
from moral_jax.runs.records import ItemScores, Record, make_records
from moral_jax.runtime import console
from moral_jax.runtime.files import cache_folder
from moral_jax.tasks import registry
from moral_jax.types import Example, Item, UserError

LIBRARIES = ("httpx2", "numpy", "scipy")
KEY = "OPENAI_API_KEY"


@dataclasses.dataclass(frozen=True)
class Service:
    """Which model, where, and how it is asked."""

    base_url: str
    model: str
    endpoint: str  # of prompts.ENDPOINTS
    top: int  # how many of the likeliest tokens it lists
    key_variable: str | None  # None: OPENAI_API_KEY if it is set; "": no key
    concurrency: int  # requests at a time
    timeout: float  # seconds
    retries: int

    def __post_init__(self) -> None:
        for field, least in (("top", 1), ("concurrency", 1), ("retries", 0)):
            if getattr(self, field) < least:
                flag = {"top": "top-logprobs"}.get(field, field)
                raise UserError(f"--{flag}={getattr(self, field)}: expected at least {least}")
        check_url(self.base_url)
        if not 0 < self.timeout < float("inf"):
            raise UserError(f"--timeout={self.timeout:g}: expected a positive number of seconds")

    @property
    def url(self) -> str:
        return check_url(self.base_url) + prompts.ENDPOINTS[self.endpoint]

    @property
    def name(self) -> str:
        """All that decides the numbers, in one line."""
        return f"{API}{self.model} at {self.url}, {self.top} likeliest tokens"

    def request(self, question: prompts.Question) -> dict[str, Any]:
        """A request for one token. At temperature 1 all servers list the model's own probabilities."""
        listed = {"logprobs": True, "top_logprobs": self.top} if self.endpoint == "chat" else {"logprobs": self.top}
        return {"model": self.model, **question.body, "max_tokens": 1, "temperature": 1, **listed}


@dataclasses.dataclass(frozen=True)
class Asked:
    """The questions of one split."""

    examples: list[Example]
    items: list[Item]
    questions: list[prompts.Question]

    @property
    def names(self) -> list[str]:
        """Which row each is about."""
        return [self.examples[i].id for i, _ in self.items]


def prepare(examples: list[Example], config: Config, endpoint: str) -> Asked:
    """Every example in every order."""
    study_prompt = registry.get(config.task.name).study_prompt
    ask = prompts.make(config.prompt, study_prompt, endpoint)
    items = render.all_items(examples, config.prompt.orders, render.options_move(config.prompt, study_prompt))
    return Asked(examples, items, [ask(examples[i], order) for i, order in items])


def ask_all(
    wanted: list[tuple[str, dict[str, Any]]], service: Service, client: Client, cache: Cache
) -> list[replies.Reply]:
    """Replies in the order of the requests, those that are kept already without asking.

    Args:
      wanted: what to call each request in an error, and its body.
    """

    def one(name: str, body: dict[str, Any]) -> replies.Reply:
        try:
            reply = replies.parse(client.post(body), service.endpoint)
        except UserError as e:
            client.stop()
            raise UserError(f"row {name!r}: {e}") from None
        cache.put(client.url, body, reply)
        return reply

    found = {i: replies.Reply(*kept) for i, (_, body) in enumerate(wanted) if (kept := cache.get(client.url, body))}
    missing = [i for i in range(len(wanted)) if i not in found]
    with ThreadPoolExecutor(service.concurrency) as pool:
        try:
            futures: dict[Future, int] = {pool.submit(one, *wanted[i]): i for i in missing}
            for done in console.progress(as_completed(futures), total=len(missing), desc="asking", unit="request"):
                with contextlib.suppress(StoppedError):  # the one that failed says why
                    found[futures[done]] = done.result()
        finally:  # after Ctrl-C: those under way come in and are kept, the others are not sent
            client.stop()
            pool.shutdown(cancel_futures=True)
    return [found[i] for i in range(len(wanted))]


def make(asked: Asked, answered: list[replies.Reply], concentration: float) -> list[Record]:
    """Records as those of local models, with bounds: `low` and `high` of each share (in the data's order of options),
    `missing_mass`, and per order which options were `unseen`."""
    bounded = [replies.bounded(r.top, q.answers) for r, q in zip(answered, asked.questions, strict=True)]
    E, C = len(asked.items), max(len(order) for _, order in asked.items)
    log_p_EC = np.full((E, C), -np.inf)
    for e, b in enumerate(bounded):
        log_p_EC[e, : len(b.mass_C)] = np.log(b.mass_C / b.mass_C.sum())
    log_mass_E = np.log([min(b.mass_C.sum(), 1.0) for b in bounded])
    records = make_records(
        asked.examples, asked.items, ItemScores(log_p_EC, log_mass_E, np.full(E, np.log(concentration)))
    )
    of: list[list[replies.Bounded]] = [[] for _ in records]
    for (index, _), b in zip(asked.items, bounded, strict=True):
        of[index].append(b)
    for record, shown in zip(records, of, strict=True):
        place = [np.argsort(o["order"]) for o in record["orders"]]
        record["low"] = np.mean([b.low_C[at] for b, at in zip(shown, place, strict=True)], axis=0).tolist()
        record["high"] = np.mean([b.high_C[at] for b, at in zip(shown, place, strict=True)], axis=0).tolist()
        record["missing_mass"] = float(np.mean([b.missing for b in shown]))
        for o, b in zip(record["orders"], shown, strict=True):
            o["unseen"] = sorted(o["order"][i] for i in b.unseen)
    return records


def _provenance(
    service: Service, config: Config, answered: list[replies.Reply], data: dict[str, Any]
) -> dict[str, Any]:
    return {
        "data": data,
        "model": {
            "path": config.model.path,
            "name": service.model,
            "url": service.url,
            "answered as": sorted({r.model for r in answered}),
            "fingerprints": sorted({r.fingerprint for r in answered} - {""}),
            "prompt tokens": sum(r.prompt_tokens for r in answered),
            "completion tokens": sum(r.completion_tokens for r in answered),
        },
        "versions": directory.versions(LIBRARIES),
    }


def run(service: Service, budget: cost.Budget, config: Config, workdir: Path) -> page.Written:
    """Asks about validation and test rows, in all orders of their options, and writes the run.

    Replies are kept in the cache folder, so what was asked once is free, in another run too.

    Raises:
      UserError: no key, no permission to spend, or whatever the data or the API does.
    """
    key = read_key(service.key_variable, KEY, service.base_url)
    config = flags.without_secrets(
        dataclasses.replace(config, model=dataclasses.replace(config.model, path=service.name))
    )
    data = registry.load(config.task)
    splits = {split: prepare(e, config, service.endpoint) for split, e in directory.to_score(data).items()}
    wanted = [(n, service.request(q)) for a in splits.values() for n, q in zip(a.names, a.questions, strict=True)]
    cache = Cache(cache_folder() / "api")
    unasked = [body for _, body in wanted if cache.get(service.url, body) is None]
    said, money = cost.estimate(unasked, budget)
    there = len(wanted) - len(unasked)
    console.say(f"{data.provenance['description']}\n{service.name}\n{there} replies are there; {said}")
    if unasked:
        cost.check(money, budget)
    with directory.claim(config, workdir):
        with contextlib.closing(Client(service.url, key, service.timeout, service.retries)) as client:
            answered = ask_all(wanted, service, client, cache)
        rest, s = iter(answered), config.objective.concentration_value
        rows = {split: make(a, [next(rest) for _ in a.items], s) for split, a in splits.items()}
        about = _provenance(service, config, answered, data.provenance)
        return directory.write_answers(workdir, config, about, rows, data.train)
