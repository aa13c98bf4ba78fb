"""Rows of AI Development Support (arXiv 2502.19798): records of a cycle, and what is trained on them.

A record is a reply to a situation with a temptation, the cycle that led there (experience, introspection, analysis,
hypothesis), and the stage that a judge gave it, 1 to 6. From records come texts to learn, without and with the cycle in
front of the reply, and preferences for the reply of the higher stage. Longer replies tend to be rated higher, so the
two of a pair may differ in length by a fifth at most. A stage is a label of a reply, not a mind.
`workflows.development` has a model write records.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config.development import LearnedConfig
from moral_jax.runtime import files
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks import reading
from moral_jax.tasks.rows import Columns, Row, is_empty
from moral_jax.tasks.splits import rank
from moral_jax.types import UserError

CYCLE = ("experience", "introspection", "analysis", "hypothesis")
SCENARIOS, REPLIES = "scenarios.jsonl", "replies.jsonl"
LOWEST, HIGHEST = 1, 6  # stages
WITHIN = 0.2  # by which share of the longer one the replies of a pair may differ in length
Rows = list[dict[str, Any]]


class Scenario(NamedTuple):
    """A situation and what tempts in it, and maybe an experience of it that somebody has written down."""

    id: str
    situation: str
    temptation: str
    experience: str = ""

    @property
    def prompt(self) -> str:
        """What is replied to."""
        return f"{self.situation}\n\n{self.temptation}"


class Reply(NamedTuple):
    """A reply to a scenario, with the cycle in front of it."""

    scenario: str
    prompt: str
    cycle: str
    reply: str
    stage: float


class Made(NamedTuple):
    """The rows of each file, and how many pairs were left out as too different in length."""

    rows: dict[str, Rows]
    left: int


def _opened(file: Path) -> Sequence[Row]:
    rows = []
    for row in reading.opened(str(file), Columns()).rows:
        if isinstance(row, UserError):
            raise row
        rows.append(row)
    if not rows:
        raise UserError(f"{file}: holds no rows")
    return rows


def scenarios(file: Path) -> list[Scenario]:
    """Returns the scenarios of a file.

    Raises:
      UserError: a field is missing, or two have one id; names file, line and field.
    """
    out: dict[str, Scenario] = {}
    for row in _opened(file):
        name = row.text("id")
        if name in out:
            raise row.error("id", name, "an id that no other scenario has")
        told = "" if is_empty(row.get(CYCLE[0])) else row.text(CYCLE[0])
        out[name] = Scenario(name, row.text("situation"), row.text("temptation"), told)
    return list(out.values())


def joined(parts: Mapping[str, str]) -> str:
    """Returns the parts of a cycle as one text, each after its name."""
    return "\n\n".join(f"{name.capitalize()}: {text}" for name, text in parts.items())


def replies(file: Path, prompts: Mapping[str, str]) -> list[Reply]:
    """Returns the records of a file.

    Raises:
      UserError: a field is missing, the scenario is unknown, or the stage is none; names file, line and field.
    """
    out = []
    for row in _opened(file):
        name, stage = row.text("scenario"), row.get("stage")
        if name not in prompts:
            raise row.error("scenario", name, f"the id of a scenario in {SCENARIOS}")
        if not is_number(stage) or not LOWEST <= stage <= HIGHEST:
            raise row.error("stage", stage, f"a number from {LOWEST} to {HIGHEST}")
        cycle = joined({part: row.text(part) for part in CYCLE})
        out.append(Reply(name, prompts[name], cycle, row.text("reply"), stage))
    return out


def texts(of: Sequence[Reply], least: float, *, with_cycle: bool) -> Rows:
    """Returns what is learned: the replies of a stage and above, after their cycle or alone."""
    return [
        {"prompt": r.prompt, "completion": f"{r.cycle}\n\n{r.reply}" if with_cycle else r.reply, "scenario": r.scenario}
        for r in of
        if r.stage >= least
    ]


def _are_alike(a: str, b: str) -> bool:
    return abs(len(a) - len(b)) <= WITHIN * max(len(a), len(b))


def pairs(of: Sequence[Reply], gap: float) -> tuple[Rows, int]:
    """Returns preferences for the higher stage between replies to one scenario that are about as long, and how many
    pairs were left out because they are not.

    Args:
      gap: stages by which the two differ at least.
    """
    rows, left = [], 0
    for a, b in itertools.combinations(of, 2):
        if a.scenario != b.scenario or abs(a.stage - b.stage) < gap or a.reply == b.reply:
            continue
        if not _are_alike(a.reply, b.reply):
            left += 1
            continue
        high, low = (a, b) if a.stage > b.stage else (b, a)
        row = {"prompt": a.prompt, "chosen": high.reply, "rejected": low.reply, "scenario": a.scenario}
        rows.append(row | {"stages": [high.stage, low.stage]})
    return rows, left


def make(folder: Path, s: LearnedConfig) -> Made:
    """Returns all rows that a study of stages needs, of a folder with `scenarios.jsonl` and `replies.jsonl`.

    Nothing of a held-out scenario is trained: its prompt is asked.

    Raises:
      UserError: a row is bad, or nothing is left to learn.
    """
    prompts = {of.id: of.prompt for of in scenarios(folder / SCENARIOS)}
    in_order = sorted(prompts, key=lambda name: (rank(name, 0), name))
    held_out = set(in_order[: round(s.test * len(in_order))])
    of = [r for r in replies(folder / REPLIES, prompts) if r.scenario not in held_out]
    chosen, left = pairs(of, s.gap)
    rows = {
        "texts": texts(of, s.least, with_cycle=False),
        "texts_with_cycle": texts(of, s.least, with_cycle=True),
        "pairs": chosen,
        "pairs_swapped": [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in chosen],
        "prompts": [{"id": name, "prompt": text} for name, text in prompts.items() if name in held_out],
    }
    if empty := [name for name, of_file in rows.items() if not of_file]:
        why = {
            "prompts": "no scenario is held out",
            "pairs": f"no two replies to a scenario are {s.gap:g} stages apart (--gap) and about as long; {left} pairs "
            f"differ in length by more than {WITHIN:.0%}",
        }
        reason = why.get(empty[0], f"no reply is of stage {s.least:g} or above (--least)")
        raise UserError(f"{folder}: nothing is left for {empty[0]}.jsonl: {reason}")
    return Made(rows, left)


def write(made: Made, out: Path) -> None:
    """Writes the rows, a file of JSON lines for each name."""
    out.mkdir(parents=True, exist_ok=True)
    for name, of in made.rows.items():
        files.write_jsonl(out / f"{name}.jsonl", of)
