"""Writes the page of a run of reinforcement learning: rewards, the course of training, and replies to read."""

import dataclasses
from pathlib import Path
from typing import Any

from moral_jax.report import checks, plots
from moral_jax.report.source import Source, read_named
from moral_jax.report.words import STAGE_NAMES, Table, interval, side
from moral_jax.runs import rollouts
from moral_jax.runs.quantities import REPLIES
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.runtime import strict_json
from moral_jax.types import UserError

SHOWN = 600  # characters of a text
PROMPTS_SHOWN = 5
CURVES = (
    ("rollout", ("reward", "finished", "without_signal"),
     "Of each rollout: reward, share of replies that ended by themselves, share of groups without signal."),
    ("rollout", ("kl",), "KL divergence of each rollout to the weights that the run began with, nats a token."),
    ("train", ("entropy",), "Entropy of each step, nats a token."),
    ("rollout", ("length",), "Tokens of a reply."),
    ("train", ("sampler_gap",), "Of each step: mean difference of the sampler's and the trainer's log p of a token."),
    ("train", ("ratio", "clip_share"), "Of each step: ratio of new to old probability, share of tokens clipped."),
)  # fmt: skip


def _is_shown(line: rollouts.Line) -> bool:
    """Returns true if a line can be shown."""
    texts = all(isinstance(text, str) for text in (line.id, line.prompt, line.text, line.reason))
    return texts and (line.reward is None or strict_json.is_number(line.reward))


def _samples(folder: Path) -> list[tuple[str, list[rollouts.Line]]]:
    """Returns replies of the first, the middle and the last rollout, the samples of their first prompt."""
    numbers = rollouts.numbers(folder / rollouts.FOLDER)
    wanted = dict.fromkeys((numbers[0], numbers[len(numbers) // 2], numbers[-1])) if numbers else {}
    out = []
    for number in wanted:
        lines = rollouts.lines(folder / rollouts.FOLDER, number)
        if not lines or not all(map(_is_shown, lines)):
            raise UserError(f"{folder / rollouts.FOLDER}: rollout {number} is not what a run writes; {checks.AGAIN}")
        out.append((f"rollout {number}", [line for line in lines if line.id == lines[0].id]))
    return out


def read(folder: Path) -> Source:
    """Reads the files of a run on replies; raises UserError if a file is not what a run writes."""
    return dataclasses.replace(read_named(folder, checks.reply_metrics, read_reply_jsonl), samples=_samples(folder))


def _label(name: str) -> str:
    return REPLIES[name].label if name in REPLIES else name.removeprefix("reward/")


def main_table(source: Source) -> Table:
    """Returns all numbers: a row for each stage."""
    names = list(source.last.numbers["metrics"])
    rows = [[STAGE_NAMES[s.name], *(interval(s.value(m)) for m in names)] for s in source.stages]
    return Table(["", *map(_label, names)], rows)


def group_tables(source: Source) -> list[Table]:
    """Returns a table per kind of subset: prompts, and the reward of each stage."""
    out = []
    for kind, named in source.last.numbers["groups"].items():
        rows = []
        for name, last in named.items():
            known = [s.numbers["groups"].get(kind, {}).get(name, {}).get("reward") for s in source.stages]
            rows.append([name, str(last["rows"]), *map(interval, known)])
        out.append(Table([kind, "prompts", *(f"reward {STAGE_NAMES[s.name]}" for s in source.stages)], rows))
    return out


def verdict(source: Source) -> list[str]:
    """Says in sentences what the table holds, and no more."""
    last = source.last
    scope = f"On {last.numbers['rows']} {last.numbers['split']} prompts"
    reward, d = last.value("reward"), source.comparison.get("reward")
    if reward is None:
        return [f"{scope} no reward could be told."]
    if d is None or "low" not in d:
        return [f"{scope} a reply is worth {interval(reward)}."]
    first = source.stages[0].value("reward")
    change = f"from {interval(first)} to {interval(reward)} (difference {d['value']:+.3f}, 95 % interval " \
             f"{d['low']:+.3f} to {d['high']:+.3f})"  # fmt: skip
    words = {0: "made no clear difference to the reward", 1: "raised the reward", -1: "lowered the reward"}
    parts = [f"{scope} training {words[side(d)]}: {change}."]
    longer = source.comparison.get("tokens")
    if longer and side(longer):
        parts.append(
            f"Replies became {'longer' if longer['value'] > 0 else 'shorter'} by {abs(longer['value']):.1f} tokens."
        )
    parts.append("Read the replies below: a reward can rise for reasons that nobody wanted.")
    return parts


def prompts(source: Source) -> list[dict[str, Any]]:
    """Returns some prompts with the first reply of each stage, texts shortened."""
    out = []
    for name, record in list(source.last.records.items())[:PROMPTS_SHOWN]:
        prompt = record["prompt"]
        turns = prompt if isinstance(prompt, list) else [{"role": "prompt", "content": prompt}]
        replies = [
            (STAGE_NAMES[s.name], reply | {"text": reply["text"][:SHOWN]})
            for s in source.stages
            if name in s.records
            for reply in s.records[name]["replies"][:1]
        ]
        out.append({"id": name, "turns": [t | {"content": t["content"][-SHOWN:]} for t in turns], "replies": replies})
    return out


def values(source: Source) -> dict[str, Any]:
    """Returns what the templates read, beside what all pages have."""
    return {
        "verdict": verdict(source),
        "main": main_table(source),
        "groups": group_tables(source),
        "prompts": prompts(source),
        "samples": [
            (title, [line._asdict() | {"prompt": line.prompt[-SHOWN:], "text": line.text[:SHOWN]} for line in lines])
            for title, lines in source.samples
        ],
        "plots": [(plots.lines(source, names, kind), caption) for kind, names, caption in CURVES],
    }
