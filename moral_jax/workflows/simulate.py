"""Simulates moral progress: people, examinees, numbers, page.

OUT/simulation.json     what is simulated
OUT/centuries/          what people say in each century: the records of a questionnaire, beside files of planted shares
OUT/start/, first/, alone/, together/    the steps: `workflows.simulation`
OUT/progress.json       the numbers
OUT/report.html, .md    the page
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.analysis import trajectories
from moral_jax.analysis.progress import ALGORITHMS, CHALLENGES, STATIC, Algorithm
from moral_jax.analysis.trajectories import Walked
from moral_jax.config import Config, saved
from moral_jax.report import simulate as page
from moral_jax.report.page import Written
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.runtime import files, programs, strict_json
from moral_jax.tasks.questionnaire import conditions, folder
from moral_jax.types import UserError
from moral_jax.workflows import centuries, lessons, questionnaire, simulation
from moral_jax.workflows.asking import Who, locked
from moral_jax.workflows.questionnaire import Asked
from moral_jax.workflows.simulation import ANSWERS, How, Simulation

ABOUT, NUMBERS = "simulation.json", "progress.json"


class Plan(NamedTuple):
    """What a simulation is asked for."""

    asked: Asked
    how: How
    config: Config  # how the examinee is trained
    start: Who
    people: str | Sequence[Who]  # a path of planted values, or who they are
    pace: float
    seed: int
    algorithms: dict[str, tuple[Algorithm, str]]  # name -> function, hash of its file
    challenges: Sequence[str]


def algorithms(names: Sequence[str]) -> dict[str, tuple[Algorithm, str]]:
    """Returns algorithms by name, `static` first, which all others are compared with.

    Args:
      names: of `ALGORITHMS`, or FILE.py:FUNCTION.

    Raises:
      UserError: there is no such algorithm.
    """
    found: dict[str, tuple[Algorithm, str]] = {STATIC: (ALGORITHMS[STATIC], "")}
    for name in names:
        if programs.is_program(name):
            function, identity = programs.load(name, f"--algorithm={name}")
            short = name.rpartition(":")[2]
            if short in found or short in ALGORITHMS:
                raise UserError(f"--algorithm={name}: another algorithm is called {short!r}; rename the function")
            found[short] = (function, identity)
        elif name in ALGORITHMS:
            found[name] = (ALGORITHMS[name], "")
        else:
            known = ", ".join(ALGORITHMS)
            raise UserError(f"--algorithm={name}: no such algorithm; there are {known} and FILE.py:FUNCTION")
    return found


def read(name: str, said: Sequence[str]) -> Asked:
    """Returns the questionnaire that is asked, under the first condition of each axis unless others are named.

    Args:
      said: AXIS=ID,ID flags.

    Raises:
      UserError: anything is wrong with it, or its tally is another than `vector`.
    """
    task = folder.read(name)
    if task.tally != "vector":
        raise UserError(f"--task={name}: its tally is {task.tally!r}; expected a questionnaire with tally 'vector'")
    usual = {axis: [next(iter(of_axis))] for axis, of_axis in conditions.read(task).items()}
    return questionnaire.read(name, usual | questionnaire.chosen_conditions(said))


def _people(plan: Plan, out: Path) -> list[Who]:
    """Returns who people are in each century."""
    if not isinstance(plan.people, str):
        return [who._replace(name=f"century {t}: {who.name}") for t, who in enumerate(plan.people)]
    needed = plan.how.steps + 1 + plan.how.ahead
    weights = centuries.weights_of(plan.asked, plan.people, needed, plan.pace, plan.seed)
    return centuries.planted(plan.asked, weights, out)


def _said(plan: Plan, people: Sequence[Who]) -> dict[str, Any]:
    """Returns what may not change while a simulation goes on."""
    usual, own = saved.flatten(Config()), saved.flatten(plan.config)
    drift = {"drift": plan.people, "pace": plan.pace, "seed": plan.seed} if isinstance(plan.people, str) else {}
    return {
        "task": plan.asked.folder.name,
        "questions": plan.asked.size,
        "examinee": _name_of(plan.start),
        "people": [_name_of(who) for who in people],
        **plan.how._asdict(),
        **drift,
        "config": {name: own[name] for name in own if own[name] != usual[name]},
    }


def _name_of(who: Who) -> str:
    if who.run:
        return f"run:{who.run}"
    r = who.config.respondent
    return who.config.model.path if r.kind == "local" else f"{r.kind}:{r.name}"


def _check(plan: Plan, people: Sequence[Who], out: Path) -> None:
    """Writes what is simulated, or compares it with what is simulated here already.

    Raises:
      UserError: it is another simulation, or another function of the name of an algorithm.
    """
    said, path = _said(plan, people), out / ABOUT
    programs_of = {name: identity for name, (_, identity) in plan.algorithms.items() if identity}
    if (out / "start" / ANSWERS / RECORDS).exists():  # what was refused before it had asked anybody may change
        known = strict_json.read(path)
        for key, value in said.items():
            if known.get(key) != value:
                raise UserError(f"{path}: {key} is {known.get(key)!r}, and now {value!r}; pass --workdir=ANOTHER")
        functions = dict(known.get("functions", {}))
        for name, identity in programs_of.items():
            if functions.get(name, identity) != identity:
                raise UserError(f"{path}: the function {name} was another one; pass --workdir=ANOTHER, or rename it")
        programs_of = functions | programs_of
    files.write_json(path, said | {"functions": programs_of})


def _walk(sim: Simulation, plan: Plan) -> Walked:
    """Walks through time for every algorithm."""
    records = simulation.ask(sim, sim.people, sim.out / centuries.FOLDER / ANSWERS)
    people = [[r for r in records if r["respondent"] == who.name] for who in sim.people]
    start, begins = simulation.first(sim, people)
    alone: dict[str, list[list[Record]]] = {}
    together: dict[str, list[list[Record]]] = {}
    influencers: dict[str, list[list[Record]]] = {}
    kinds = {CHALLENGES[name].coevolves for name in plan.challenges}
    for name, (algorithm, _) in plan.algorithms.items():
        if False in kinds:
            alone[name] = [state.records for state in simulation.alone(sim, name, algorithm, begins, people)]
        if True in kinds:
            states, proxies = simulation.together(sim, name, algorithm, begins, people)
            together[name] = [proxy.records for proxy in proxies]
            influencers[name] = [state.records for state in states]
    return Walked(people, start.records, alone, together, influencers)


def make(plan: Plan, out: Path, resamples: int) -> Written:
    """Simulates, and writes numbers and page.

    Args:
      out: a new directory, or one in which the same simulation has begun.
      resamples: of the bootstrap.

    Raises:
      UserError: `out` holds another simulation, somebody cannot answer or learn, or an algorithm fails.
    """
    school = simulation.school(plan.asked, plan.how, plan.config)
    with locked(out):
        people = _people(plan, out)
        start = plan.start._replace(config=lessons.read_where_taught(plan.start.config, plan.how.objective))
        sim = Simulation(plan.asked, plan.how, school, start, people, out)
        if sim.steps < 1 or "predict" in plan.challenges and len(people) < 2 + plan.how.ahead:
            raise UserError(f"{len(people)} centuries: too few to take a step and be {plan.how.ahead} ahead of it")
        _check(plan, people, out)
        walked = _walk(sim, plan)
        found = trajectories.count(
            walked, plan.challenges, plan.how.ahead, school.rows, plan.asked.folder.surface, resamples
        )
        said = _said(plan, people) | {"title": "Moral progress, simulated", "sample": plan.asked.folder.sample}
        files.write_json(out / NUMBERS, found)
        return page.write(out, found, said)
