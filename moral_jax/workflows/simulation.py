"""Walks through time: people whose values drift, and an examinee that learns from them, step by step.

OUT/start/                     the examinee before anybody has taught it, asked
OUT/first/                     the examinee once it has learned the first century, as every algorithm has it
OUT/alone/ALGORITHM/step-N/    a step of `follow` and `predict`: the lesson, what the examinee then says, step.json
OUT/together/ALGORITHM/step-N/ a step of `coevolve`, with the lessons of people too

A step is sealed by its step.json, which is written last: a killed simulation goes on at the step in which it was
killed, and an algorithm or challenge that is added later costs only itself.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import progress
from moral_jax.analysis.progress import Algorithm, Shares
from moral_jax.config import Config
from moral_jax.report.page import Written
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.runtime import console, files, programs, strict_json
from moral_jax.types import UserError
from moral_jax.workflows import lessons, questionnaire
from moral_jax.workflows.asking import Who
from moral_jax.workflows.evaluate import NO_BUDGET
from moral_jax.workflows.lessons import Pupil, School
from moral_jax.workflows.questionnaire import Asked

SEAL = "step.json"
ANSWERS, LESSON = "answers", "lesson"
EXAMINEE, PEOPLE = "examinee", "people"
CURRENT, FIRST = "current", "first"
OWN_EPOCHS, INFLUENCE_EPOCHS = 1, 2  # of people: on what their own time says, and on what the examinee says


class How(NamedTuple):
    """How is simulated."""

    steps: int = 5
    order: int = 1
    ahead: int = 1
    objective: str = "shares"
    weights: str = CURRENT  # those that a lesson begins with: the current ones, or those of the first century
    hold_out: float = 0.0  # share of the rows that nobody is taught
    rate: float = 0.5  # of who has no weights


class State(NamedTuple):
    """Somebody after a step, and what was said then."""

    pupil: Pupil
    records: list[Record]


@dataclasses.dataclass(frozen=True)
class Simulation:
    """What is simulated."""

    asked: Asked
    how: How
    school: School
    start: Who  # the examinee before anybody has taught it
    people: list[Who]  # one a century
    out: Path

    @property
    def steps(self) -> int:
        """The steps after the first century."""
        return min(self.how.steps, len(self.people) - 1)


def school(asked: Asked, how: How, config: Config) -> School:
    """Returns what all lessons have in common; the rows that are held out are spread evenly over the questionnaire.

    Raises:
      UserError: the objective cannot be learned by who has no weights, or nothing is left to be taught.
    """
    if lessons.is_table(config) and how.objective != "shares":
        raise UserError(f"--objective={how.objective}: needs an examinee with weights; a scripted one learns shares")
    examples = [example for part in asked.parts for example in part.examples]
    names = list(dict.fromkeys(e.notes["row"] for e in examples))
    taught = frozenset(n for i, n in enumerate(names) if int((i + 1) * how.hold_out) == int(i * how.hold_out))
    if not taught:
        raise UserError(f"--hold-out={how.hold_out}: leaves nothing to be taught")
    config = lessons.read_where_taught(config, how.objective)
    return School(asked.folder, examples, taught, config, how.objective, how.rate)


def said_by(records: Sequence[Record]) -> Shares:
    """Returns the shares of each row, the mean over the conditions under which it was asked."""
    said: dict[str, list[list[float]]] = {}
    for record in records:
        said.setdefault(record["row"], []).append(record["probabilities"])
    return {row: np.mean(shares, axis=0) for row, shares in said.items()}


def ask(sim: Simulation, who: Sequence[Who], folder: Path) -> list[Record]:
    """Returns the answers of everybody, asked where they have not answered yet."""
    nothing = Written(folder / RECORDS, "", "")
    questionnaire.answered(sim.asked, who, folder, NO_BUDGET, lambda: nothing)
    return answers.read(folder / RECORDS)


def _heard(sim: Simulation, records: Sequence[Record]) -> Shares:
    """Returns what an algorithm hears of answers: shares, or votes on pairs."""
    said = said_by(records)
    return progress.votes(said) if sim.how.objective == "dpo" else said


def _state(sim: Simulation, who: Who, folder: Path) -> State:
    records = ask(sim, [who], folder / ANSWERS)
    return State(Pupil(who, said_by(records)), records)


def _sealed(who: Who, folder: Path) -> State:
    """Returns somebody after a step that is done; nobody is loaded or asked."""
    records = answers.read(folder / ANSWERS / RECORDS)
    return State(Pupil(who, said_by(records)), records)


def _is_sealed(folder: Path) -> bool:
    """Returns whether a step is done.

    Raises:
      UserError: its answers are others than those that it was sealed with.
    """
    if not (folder / SEAL).exists():
        return False
    seal, records = strict_json.read(folder / SEAL), folder / ANSWERS / RECORDS
    if seal.get("answers") and (not records.exists() or files.sha256(records) != seal["answers"]):
        raise UserError(
            f"{records}: is not what step.json was sealed with; put it back, or remove {folder} and later steps"
        )
    return True


def _seal(folder: Path, said: Mapping[str, Any]) -> None:
    """Ends a step."""
    records = folder / ANSWERS / RECORDS
    hashes = {"answers": files.sha256(records) if records.exists() else None}

    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / SEAL, {**said, **hashes})


def _taught(sim: Simulation, pupil: Pupil, shares: Shares, folder: Path, said: Mapping[str, Any]) -> State:
    """Returns the examinee after a lesson, asked; seals the step."""
    if _is_sealed(folder):
        return _sealed(lessons.learned(pupil.who.name, folder / LESSON, sim.school), folder)
    after = _state(sim, lessons.learn(pupil, shares, folder / LESSON, sim.school).who, folder)
    _seal(folder, said)
    return after


def first(sim: Simulation, people: Sequence[list[Record]]) -> tuple[State, State]:
    """Returns the examinee before anybody has taught it, and once it has learned the first century."""
    start = _state(sim, sim.start, sim.out / "start")
    console.info("step 0: the examinee learns the first century")
    heard = _heard(sim, people[0])
    return start, _taught(sim, start.pupil, heard, sim.out / "first", {"step": 0, "heard": sim.people[0].name})


def _step(
    sim: Simulation, name: str, algorithm: Algorithm, heard: Sequence[Shares], states: Sequence[State], folder: Path
) -> State:
    """Returns the examinee after what an algorithm makes of what was heard; unchanged where it teaches nothing."""
    said = {"step": len(states), "algorithm": name}
    shares = _returned(sim, name, algorithm, heard)
    if shares is None:
        _seal(folder, said | {"unchanged": True})
        return states[-1]
    console.info(f"{name}, step {len(states)} of {sim.steps}")
    begins = states[0] if sim.how.weights == FIRST else states[-1]
    return _taught(sim, begins.pupil, shares, folder, said)


def _returned(sim: Simulation, name: str, algorithm: Algorithm, heard: Sequence[Shares]) -> Shares | None:
    """Returns what an algorithm makes of what was heard.

    Raises:
      UserError: it is a user's function that fails, or returns anything but None or numbers for every row.
    """
    with programs.running(f"--algorithm={name}"):
        taught: Any = algorithm(heard, sim.how.order, sim.how.ahead)
    if taught is None:
        return None
    try:
        numbers = {row: np.asarray(taught[row], float) for row in heard[-1]}
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"--algorithm={name}: returned no numbers for every row ({type(e).__name__}: {e})") from e
    for row, x in numbers.items():
        if x.shape != heard[-1][row].shape or not np.isfinite(x).all():
            count = heard[-1][row].size
            raise UserError(f"--algorithm={name}: row {row!r}: expected {count} finite numbers, as were heard")
        if sim.how.objective == "shares" and x.max() <= 0:
            raise UserError(f"--algorithm={name}: row {row!r}: found {x.tolist()}, expected a share above 0")
    return numbers


def alone(
    sim: Simulation, name: str, algorithm: Algorithm, begins: State, people: Sequence[list[Record]]
) -> list[State]:
    """Returns the examinee at step 0, 1, ...: at each it hears the people of that time, who do not hear it."""
    states = [begins]
    heard = [_heard(sim, people[0])]
    for step in range(1, sim.steps + 1):
        heard.append(_heard(sim, people[step]))
        states.append(_step(sim, name, algorithm, heard, states, sim.out / "alone" / name / f"step-{step:02}"))
    return states


def together(
    sim: Simulation, name: str, algorithm: Algorithm, begins: State, people: Sequence[list[Record]]
) -> tuple[list[State], list[State]]:
    """Returns the examinee and the proxy of people at step 0, 1, ....

    The proxy begins as the people of the first century. At each step the examinee hears the proxy and learns; then the
    proxy learns an epoch what people of that time say, and two what the examinee says.
    """
    states = [begins]
    proxies = [State(Pupil(sim.people[0], said_by(people[0])), list(people[0]))]
    heard: list[Shares] = []
    for step in range(1, sim.steps + 1):
        folder = sim.out / "together" / name / f"step-{step:02}"
        heard.append(_heard(sim, proxies[-1].records))
        states.append(_step(sim, name, algorithm, heard, states, folder / EXAMINEE))
        proxies.append(_influenced(sim, proxies[-1], people[step], states[-1].records, folder / PEOPLE))
    return states, proxies


def _influenced(
    sim: Simulation, proxy: State, own: Sequence[Record], examinee: Sequence[Record], folder: Path
) -> State:
    """Returns the proxy of people after a step: who has no weights learns shares, whatever the examinee learns."""
    who = proxy.pupil.who._replace(name=PEOPLE)
    own_said, said = (
        said_by(records) if lessons.is_table(who.config) else _heard(sim, records) for records in (own, examinee)
    )
    influence = folder / "influence"
    if _is_sealed(folder):
        return _sealed(lessons.learned(PEOPLE, influence, sim.school), folder)
    after_own = lessons.learn(proxy.pupil._replace(who=who), own_said, folder / "own", sim.school, OWN_EPOCHS)
    after = lessons.learn(after_own, said, influence, sim.school, INFLUENCE_EPOCHS)
    state = _state(sim, after.who, folder)
    _seal(folder, {"proxy of": PEOPLE})
    return state
