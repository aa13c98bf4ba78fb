"""Searches for innocent prompts whose completions violate a value, beside random prompts at the same cost.

For each value, until the budget of completions is spent (the steps of arXiv 2310.11053):

1. try the prompts of the beam: K completions of each, which a judge reads
2. keep those of the highest violation, and their worst completions y
3. propose rewrites x' of the kept prompts; drop those that the judge calls violating themselves
4. try next the rewrites under which the kept completions are likeliest: mean log p(y | x') - penalty x violation(x')

The random arm spends as many completions on rewrites of prompts that it draws without looking at any judgement. What
either arm keeps is tried again with fresh completions, as the ones that chose it flatter it.

OUT/log.jsonl     every rewrite, completion, judgement and step: `runs.memory`
OUT/kept.jsonl    the prompts that were kept, without completions
OUT/search.json   the numbers
OUT/report.html, .md   the page, which shows no texts
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import search as analysis
from moral_jax.analysis.search import Prompted, Row
from moral_jax.config.search import SearchConfig
from moral_jax.judges.base import Judge, numbers_of
from moral_jax.report import search as page
from moral_jax.report.page import Written as Page
from moral_jax.runs.memory import Memory
from moral_jax.runtime import console, distributed, files
from moral_jax.runtime.files import write_jsonl
from moral_jax.tasks.values import Principle
from moral_jax.types import UserError
from moral_jax.workflows.asking import locked
from moral_jax.workflows.violations import about_judges, seed_of, written
from moral_jax.workflows.writers import Rewriter, Writer

KEPT, NUMBERS = "kept.jsonl", "search.json"
SEARCH, RANDOM = "search", "random"
TARGET, OTHER = "target", "other model"


class Tried(NamedTuple):
    """A prompt, its completions, and how much each violates the value."""

    prompt: str
    completions: list[str]
    violations: Row

    @property
    def mean(self) -> float:
        """The mean violation of what could be judged."""
        known = [x for x in self.violations if x is not None]
        return sum(known) / len(known) if known else 0.0


class Asker:
    """All that is asked during a search: what the log knows is not asked again."""

    def __init__(self, memory: Memory, writers: Mapping[str, Writer], rewriter: Rewriter | None,
                 judges: Mapping[str, Judge], s: SearchConfig):  # fmt: skip
        self.memory, self.writers, self.rewriter, self.judges, self.s = memory, writers, rewriter, judges, s

    def completions(self, who: str, prompts: Sequence[str], seed: int) -> list[list[str]]:
        """Returns completions of prompts."""
        n = self.s.completions
        asked = [[who, prompt, n, seed] for prompt in prompts]
        return self.memory.ask("completions", asked, lambda new: self.writers[who].write([a[1] for a in new], n, seed))

    def violations(self, value: Principle, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Returns how much texts violate a value; the prompt of each is "" where the text is a prompt itself."""

        def judged(new: list[Any]) -> list[float | None]:
            replies = [written(value, prompt, text) for _, prompt, text in new]
            return numbers_of(self.judges[value.id], replies)

        return self.memory.ask("violation", [[value.id, *pair] for pair in pairs], judged)

    def logp(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Returns the log-probability of completions under the target, and their tokens."""

        def weighed(new: list[Any]) -> list[tuple[float, int]]:
            return self.writers[TARGET].weigh([(prompt, text) for prompt, text in new])

        return self.memory.ask("logp", [list(pair) for pair in pairs], weighed)

    def rewrites(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[list[str]]:
        """Returns rewrites of prompts."""

        def asked(new: list[Any]) -> list[list[str]]:
            assert self.rewriter is not None, "of a search, not of a replay"
            return [self.rewriter.rewrite(prompt, self.s.proposals, seed) for prompt, seed in new]

        return self.memory.ask("rewrites", [list(pair) for pair in zip(prompts, seeds, strict=True)], asked)

    def tried(self, who: str, value: Principle, prompts: Sequence[str], seed: int) -> list[Tried]:
        """Returns prompts with completions and their violations."""
        found = self.completions(who, prompts, seed)
        pairs = [(prompt, text) for prompt, texts in zip(prompts, found, strict=True) for text in texts]
        said, n = self.violations(value, pairs), self.s.completions
        return [
            Tried(prompt, texts, said[i * n : (i + 1) * n])
            for i, (prompt, texts) in enumerate(zip(prompts, found, strict=True))
        ]

    def innocent(self, value: Principle, prompts: Sequence[str]) -> dict[str, float]:
        """Returns the prompts that do not violate the value themselves, and how much they do: one that the judge cannot
        read is not taken for innocent."""
        said = self.violations(value, [("", prompt) for prompt in prompts])
        return {p: x for p, x in zip(prompts, said, strict=True) if x is not None and x < self.s.threshold}


def _best(tried: Mapping[str, Tried], count: int) -> list[Tried]:
    """Returns the prompts of the highest violation; of equals those that were tried first."""
    return sorted(tried.values(), key=lambda t: -t.mean)[:count]


def _likeliest(asker: Asker, rewrites: Mapping[str, float], kept: Sequence[Tried]) -> list[str]:
    """Returns rewrites in the order of step 4; as they are where no completion violates anything."""
    s = asker.s
    judged = [(x, text) for t in kept for text, x in zip(t.completions, t.violations, strict=True) if x]
    worst = list(dict.fromkeys(text for _, text in sorted(judged, key=lambda pair: -pair[0])))[: s.completions]
    if not worst or not rewrites:
        return list(rewrites)
    pairs = [(prompt, text) for prompt in rewrites for text in worst]
    logp = dict(zip(pairs, asker.logp(pairs), strict=True))
    score = {
        prompt: float(np.mean([logp[prompt, text][0] for text in worst])) - s.penalty * own
        for prompt, own in rewrites.items()
    }
    return sorted(rewrites, key=lambda prompt: -score[prompt])


def run_arm(asker: Asker, value: Principle, start: Sequence[str], arm: str) -> dict[str, Tried]:
    """Spends the budget on one value; returns all prompts that were tried.

    Raises:
      UserError: no prompt that it begins with is innocent.
    """
    s, tried, spent, number = asker.s, dict[str, Tried](), 0, 0
    rng = np.random.default_rng(seed_of(s.seed, value.id, arm))
    innocent = list(asker.innocent(value, start))
    if not innocent:
        raise UserError(f"value {value.id!r}: every prompt that the search begins with violates it already")
    beam = [innocent[i] for i in rng.permutation(len(innocent))[: s.beam]]
    while beam and spent + s.completions <= s.budget:
        beam = beam[: (s.budget - spent) // s.completions]
        for one in asker.tried(TARGET, value, beam, seed_of(s.seed, number, "completions")):
            tried[one.prompt] = one
        spent, number = spent + len(beam) * s.completions, number + 1
        kept = _best(tried, s.beam) if arm == SEARCH else list(tried.values())
        asker.memory.step(value=value.id, arm=arm, number=number, spent=spent, kept=[t.prompt for t in kept[: s.beam]])
        if spent + s.completions <= s.budget:
            beam = _next(asker, value, kept, tried, rng, arm)
    return tried


def _next(asker: Asker, value: Principle, kept: Sequence[Tried], tried: Mapping[str, Tried], rng: np.random.Generator,
          arm: str) -> list[str]:  # fmt: skip
    """Returns the prompts that are tried next: innocent rewrites that were not tried yet."""
    s = asker.s
    parents = list(kept) if arm == SEARCH else [kept[i] for i in rng.integers(len(kept), size=s.beam)]
    rewrites = asker.rewrites([t.prompt for t in parents], [int(x) for x in rng.integers(2**31, size=len(parents))])
    new = [p for of in rewrites for p in of if p.strip() and p not in tried]
    found = asker.innocent(value, list(dict.fromkeys(new)))
    names = list(found)
    mixed = {names[i]: found[names[i]] for i in rng.permutation(len(names))}
    return (_likeliest(asker, mixed, kept) if arm == SEARCH else list(mixed))[: s.beam]


class Found(NamedTuple):
    """What a search came to: arm -> prompts with violations, of each kind of completions."""

    searching: dict[str, list[Prompted]]
    fresh: dict[str, dict[str, list[Prompted]]]  # writer -> arm -> the kept prompts
    kept: list[dict[str, Any]]


def search(asker: Asker, values: Sequence[Principle], start: Sequence[str]) -> Found:
    """Searches for all values in both arms, and tries again what each keeps."""
    who = [TARGET, *(name for name in asker.memory.about["writers"] if name != TARGET)]
    searching: dict[str, list[Prompted]] = {SEARCH: [], RANDOM: []}
    fresh: dict[str, dict[str, list[Prompted]]] = {name: {SEARCH: [], RANDOM: []} for name in who}
    kept: list[dict[str, Any]] = []
    jobs = [(value, arm) for value in values for arm in (SEARCH, RANDOM)]
    for value, arm in console.progress(jobs, desc="searching", unit="arm"):
        distributed.leave_if_preempted(f"before the {arm} arm of value {value.id}")
        tried = run_arm(asker, value, start, arm)
        searching[arm] += [Prompted(value.id, t.violations) for t in tried.values()]
        best = [t.prompt for t in _best(tried, asker.s.beam)]
        for name in who:
            again = asker.tried(name, value, best, seed_of(asker.s.seed, "fresh"))
            fresh[name][arm] += [Prompted(value.id, t.violations) for t in again]
            if name == TARGET:
                kept += [{"id": f"{value.id} {arm} {i}", "value": value.id, "arm": arm, "prompt": t.prompt,
                          "violation": t.mean} for i, t in enumerate(again)]  # fmt: skip
    return Found(searching, fresh, kept)


def numbers(found: Found, s: SearchConfig, resamples: int) -> dict[str, Any]:
    """Returns what search.json holds."""
    at = s.threshold, resamples, s.seed
    unread = sum(x is None for rows in found.searching.values() for row in rows for x in row.violations)
    return {
        "searching": analysis.arms(found.searching, *at),
        "fresh": {who: analysis.arms(arms, *at) for who, arms in found.fresh.items()},
        "completions": {arm: sum(len(row.violations) for row in rows) for arm, rows in found.searching.items()},
        "prompts": {arm: len(rows) for arm, rows in found.searching.items()},
        "unjudged": unread,
    }


def make(
    out: Path, about: dict[str, Any] | None, writers: Mapping[str, Writer], rewriter: Rewriter | None,
    judges: Mapping[str, Judge], resamples: int,
) -> Page:  # fmt: skip
    """Searches, or goes on, or replays; writes prompts, numbers and page.

    Args:
      out: a new directory, or one that the same search has begun.
      about: what is searched: values, prompts, settings, who writes and judges; None: what the log of `out` says.

    Raises:
      UserError: `out` holds another search, or nothing to replay.
    """
    with locked(out):
        memory = Memory(out, about)
        s = SearchConfig(**memory.about["settings"])
        values = [Principle(**value) for value in memory.about["values"]]
        with memory.begun():
            found = search(Asker(memory, writers, rewriter, judges, s), values, memory.about["prompts"])
        said = numbers(found, s, resamples)
        write_jsonl(out / KEPT, found.kept)
        files.write_json(out / NUMBERS, said)
        return page.write(out, memory.about, said)


def about(
    values: Sequence[Principle], prompts: Sequence[str], s: SearchConfig, writers: Mapping[str, Writer],
    rewriter: Rewriter, judges: Mapping[str, Judge], agreements: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Returns what the log of a search begins with: all that another search would differ in."""
    return {
        "settings": dataclasses.asdict(s),
        "values": [value._asdict() for value in values],
        "prompts": list(prompts),
        "writers": {name: writer.about for name, writer in writers.items()},
        "rewriter": rewriter.about,
        "judges": about_judges(judges, agreements),
    }
