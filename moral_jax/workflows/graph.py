"""Makes a moral graph of votes on cards: people's, and those of models that vote under personas.

OUT/graph.json          the numbers
OUT/report.html, .md    the page
OUT/system_prompt.txt, rubric.jsonl, pairs.jsonl    the winners, for use: `report.winners`
OUT/records.jsonl, questionnaire.json               what models were asked and said, as of a questionnaire

A persona is a condition of a questionnaire, and each persona of a respondent is a voter. Both orders of a pair are
different questions, and both are asked.
"""

import dataclasses
import fnmatch
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moral_jax.analysis import moral_graph
from moral_jax.analysis.graph import Keep
from moral_jax.report import graph as page
from moral_jax.report import winners
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS, condition_name
from moral_jax.runs.graph import Card, Vote, read_cards, read_votes
from moral_jax.runtime import files
from moral_jax.runtime.files import expanded
from moral_jax.tasks.questionnaire import conditions, cross, folder
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.types import Example, UserError
from moral_jax.workflows import questionnaire
from moral_jax.workflows.questionnaire import Asked, Who

PEOPLE, NO_PERSONA = "people", "no persona"
NUMBERS, CARDS, VOTES = "graph.json", "cards.jsonl", "votes.jsonl"
QUESTION = "Has this person become wiser about what to attend to here?"
OPTIONS = ("Yes, wiser", "No, not wiser", "Unsure")  # as `runs.graph.ANSWERS`
CHANGE = (
    "Context: {context}\n\nBefore, this person attended to:\n\n{source}\n\nNow, this person attends to:\n\n{target}"
)


class Read(NamedTuple):
    """Cards and votes, and what of the cards models are asked."""

    folder: Folder
    cards: list[Card]
    votes: list[Vote]  # of people
    asked: Asked


def read(
    votes: str | None, cards: str | None, personas: str | None, chosen: Mapping[str, list[str]], *, asks: bool
) -> Read:
    """Reads cards, votes and personas.

    Args:
      votes: a file of votes; or a folder of a questionnaire with cards, or the name of a shipped one.
      cards: a file of cards, unless `votes` is a folder.
      personas: a file of conditions, in place of the folder's.
      chosen: the conditions that models vote under, by axis; of other axes all.
      asks: models will vote.

    Raises:
      UserError: anything is wrong with them; names file, line and field.
    """
    task, votes_path, cards_path = _found(votes, cards)
    known = read_cards(cards_path)
    people = read_votes(votes_path, known) if votes_path else []
    if not asks:
        return Read(task, known, people, Asked(task, []))
    of_personas = task
    if personas is not None:
        path = expanded(personas)
        if not path.is_file():
            raise UserError(f"--personas={personas}: no such file")
        of_personas = dataclasses.replace(task, path=path.parent, conditions=path.name)
    axes = conditions.choose(conditions.read(of_personas), of_personas, chosen)
    questions = list(_questions(known, people, cards_path))
    return Read(task, known, people, Asked(task, cross.cross(questions, axes, None)))


def _found(votes: str | None, cards: str | None) -> tuple[Folder, Path | None, Path]:
    """Returns the questionnaire, and the files of votes, if there are any, and of cards."""
    if votes is not None and cards is None:
        if expanded(votes).is_file():
            raise UserError(f"{votes}: whose cards are these votes on? Pass --cards=FILE")
        if votes not in folder.shipped() and not (expanded(votes) / folder.TASK).is_file():
            raise UserError(f"{votes}: no such file; expected votes with --cards=FILE, or a folder with {folder.TASK}")
        task = folder.read(votes)
        if task.tally != folder.GRAPH:
            raise UserError(
                f"{votes}: its tally is {task.tally!r}, expected a questionnaire of cards ({folder.GRAPH!r})"
            )
        path = task.path / VOTES
        return task, path if path.exists() else None, task.path / CARDS
    if cards is None:
        raise UserError("no votes are named: pass VOTES.jsonl with --cards=CARDS.jsonl, or a folder")
    name = expanded(votes or cards).with_suffix("")
    task = Folder(name, title=f"Moral graph of {name.name}", conditions="", tally=folder.GRAPH)
    return task, expanded(votes) if votes is not None else None, expanded(cards)


def _questions(cards: Sequence[Card], votes: Sequence[Vote], where: Path) -> Iterator[Question]:
    """Yields both orders of every pair that people voted on, or else of all cards that share a context.

    Raises:
      UserError: nobody voted, and no two cards share a context.
    """
    asked = [(v.source, v.target, c) for v in votes for c in v.contexts] or [
        (one.id, other.id, c)
        for one, other in itertools.combinations(cards, 2)
        for c in one.contexts
        if c in other.contexts
    ]
    if not asked:
        raise UserError(
            f'{where}: no two cards share a context, so there is nothing to ask a model; give cards "contexts", or '
            f"pass votes whose pairs are to be asked again"
        )
    text_of = {card.id: card.text for card in cards}
    both = ((*ends, c) for a, b, c in asked for ends in ((a, b), (b, a)))
    for source, target, context in dict.fromkeys(both):
        text = CHANGE.format(context=context, source=text_of[source], target=text_of[target])
        example = Example(
            f"{source} > {target} | {context}", QUESTION, OPTIONS, (1.0,) * len(OPTIONS), text=text,
            groups={"from": source, "to": target, "context": context},
        )  # fmt: skip
        yield Question(example, str(where), False, (), None, False, {"context": context})


def _of_models(path: Path, cards: Sequence[Card]) -> dict[str, list[Vote]]:
    """Returns the votes of every respondent whose answers stand in a file of records; each persona is a voter."""
    known = {card.id for card in cards}
    out: dict[str, list[Vote]] = {}
    for record in answers.read(path) if path.exists() else []:
        ends = [record["groups"].get(field) for field in ("from", "to", "context")]
        if not {*ends[:2]} <= known or None in ends or len(record["options"]) != len(OPTIONS):
            raise UserError(f"{path}: row {record['row']!r} is no vote on these cards; pass --out=ANOTHER")
        persona = condition_name(record["condition"])
        voter = NO_PERSONA if persona == "none" else persona
        if record["respondent"] == PEOPLE:
            raise UserError(f"{path}: a model is called {PEOPLE!r}, as people are; name it: --model=NAME=PATH")
        vote = Vote(voter, ends[0], ends[1], (ends[2],), tuple(record["probabilities"]))
        out.setdefault(record["respondent"], []).append(vote)
    return out


def make(
    found: Read, respondents: Sequence[Who], out: Path, budget: Budget, keep: Keep, resamples: int,
    without: Sequence[str],
) -> Written:  # fmt: skip
    """Asks models for their votes, if any are named, and writes numbers, page and winners.

    Args:
      out: a new directory, or one that the same questions have begun: who has voted there already counts too.
      without: names of voters to be left out, or patterns of them, to see what that changes.
    """

    def count() -> Written:
        return _count(found, out, keep, resamples, without)

    if respondents:
        return questionnaire.answered(found.asked, respondents, out, budget, count)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    return count()


def _left_out(votes: Sequence[Vote], patterns: Sequence[str]) -> list[str]:
    names = dict.fromkeys(vote.voter for vote in votes)
    return [name for name in names if any(name == p or fnmatch.fnmatchcase(name, p) for p in patterns)]


def _count(found: Read, out: Path, keep: Keep, resamples: int, without: Sequence[str]) -> Written:
    """Counts each electorate, and writes everything."""
    of_models = _of_models(out / RECORDS, found.cards)
    votes = ({PEOPLE: found.votes} if found.votes else {}) | of_models
    if not votes:
        raise UserError(f"{found.folder.name}: has no votes; pass votes, or --model=... to ask a model for its votes")
    left_out = {who: _left_out(own, without) for who, own in votes.items()}
    if without and not any(left_out.values()):
        names = ", ".join(map(repr, dict.fromkeys(v.voter for own in votes.values() for v in own)))
        raise UserError(f"--without-voter={without[0]}: no such voter; there are {names[:300]}")
    numbers = {
        who: moral_graph.count(own, found.cards, keep, resamples, left_out[who], who) for who, own in votes.items()
    }
    first = next(iter(numbers))
    agreements = {
        who: moral_graph.agreement(numbers[first]["rankings"], of["rankings"])
        for who, of in numbers.items() if who != first
    }  # fmt: skip
    files.write_json(out / NUMBERS, {"keep": keep._asdict(), "electorates": numbers, "agreements": agreements})
    prompt = winners.write(out, numbers[first]["contexts"], found.cards)
    task = found.folder
    parts = [task.about, task.paper, task.licence, task.attribution]
    about = {"title": task.title, "subtitle": " · ".join(part for part in parts if part), "sample": task.sample}
    return page.write(out, about, numbers, found.cards, agreements, prompt)
