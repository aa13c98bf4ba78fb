"""All judges by name, and how a setting names them.

A setting is NAME, NAME:SETTING, run:DIR, FILE.py:FUNCTION, or several in all(A,B), any(A,B) and not(A).
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from moral_jax.judges import lexicon, people, refusal, rubric, rules
from moral_jax.judges.base import ANY, QUALITY, REFUSAL, VIOLATION, WITHOUT_MODELS, Behind, Judge, Numbers, Written
from moral_jax.judges.rules import Rule, judging
from moral_jax.runtime import programs
from moral_jax.runtime.files import expanded, sha256
from moral_jax.types import UserError

LABELLED = Path(__file__).resolve().parent / "labelled"
RUN = "run:"
SEVERAL = re.compile(r"(all|any|not)\((.*)\)", re.S)


class Context(NamedTuple):
    """What a judge is made with, beside its setting."""

    behind: Behind
    place: str  # the flag or field that names it, for errors
    folder: Path  # what paths are relative to


class Kind(NamedTuple):
    """A row of the table."""

    make: Callable[[str, Context], Judge]  # what follows the colon -> the judge, whose name the caller sets
    description: str
    setting: str = ""  # what follows the colon; empty where nothing does


def _of_rule(rule: Callable[[str, str], Rule], higher_is: str = "reward", **about) -> Callable[[str, Context], Judge]:
    """Returns what makes a judge of a rule on single texts."""
    return lambda setting, c: Judge("", judging(rule(setting, c.place)), higher_is=higher_is, **about)


def _sentiment(_: str, __: Context) -> Judge:
    rule, version = lexicon.sentiment()
    return Judge("", judging(rule), (-1.0, 1.0), "positive sentiment", 0.5, version, version,
                 labelled=str(LABELLED / "sentiment.jsonl"))  # fmt: skip


def _profanity(_: str, __: Context) -> Judge:
    judge, version = lexicon.profanity()
    return Judge("", judge, higher_is="profanity", version=version, identity=version)


def _words(setting: str, c: Context) -> tuple[dict[str, float], str]:
    path = c.folder / expanded(setting)
    if not path.is_file():
        raise UserError(f"{c.place}: {setting} is no file; expected a table with columns word and value")
    return dict(lexicon.values_of(path)), sha256(path)


def _polarity(setting: str, c: Context) -> Judge:
    of, identity = _words(setting, c)
    high = max(map(abs, of.values()))
    rule = judging(lambda written: lexicon.polarity(lexicon.known_values(written.text, of)))
    return Judge("", rule, (-high, high), "polarity", min(0.25, high), identity=identity)


def _norms(setting: str, c: Context) -> Judge:
    of, identity = _words(setting, c)
    low, high = min(of.values()), max(of.values())

    def rule(written: Written) -> float | None:
        known = lexicon.known_values(written.text, of)
        return sum(known) / len(known) if known else None

    return Judge("", judging(rule), (low, high), "mean of words", (low + high) / 2, identity=identity)


def _rubric(setting: str, c: Context) -> Judge:
    name, _, who = setting.partition("@")
    name, _, question = name.partition("#")
    found = rubric.read(name, c.folder, c.place)
    found = found.only(question, c.place) if question else found
    model = c.behind.rubric(found, who)
    identity = f"{found.sha256[:16]} {model.identity}"
    return Judge("", model.judge, (found.low, found.high), found.higher_is, found.cut, found.version, identity,
                 labelled=found.labels)  # fmt: skip


def _run(setting: str, c: Context) -> Judge:
    model = c.behind.run(setting)
    return Judge("", model.judge, ANY, QUALITY, 0.0, identity=model.identity)


JUDGES: dict[str, Kind] = {
    "refusal": Kind(
        _of_rule(
            refusal.refusal, REFUSAL, version=refusal.VERSION, identity=f"refusal {refusal.VERSION}",
            labelled=str(LABELLED / "refusal.jsonl"),
        ),
        "1 where the reply begins with a refusal, by patterns",
    ),
    "sentiment": Kind(_sentiment, "VADER's compound score, -1 to 1"),
    "profanity": Kind(_profanity, "how probably the reply is profane, by a linear model on words"),
    "gender": Kind(
        _of_rule(lambda _, __: lambda w: lexicon.genders(w.text), "female words", range=(-1.0, 1.0)),
        "female less male words, over both",
    ),
    "polarity": Kind(_polarity, "BOLD's W of a table of words and values", "FILE"),
    "norms": Kind(_norms, "mean value of the words that a table knows", "FILE"),
    "target": Kind(_of_rule(rules.target, VIOLATION), "1 where the reply holds what its row names as target"),
    "rubric": Kind(_rubric, "questions that a model answers about the reply (NAME#QUESTION: one)", "NAME@MODEL"),
    "run": Kind(_run, "the score of a reward model", "DIR"),
    "labels": Kind(lambda setting, c: people.labels(setting, c.folder, c.place), "what people said", "FILE"),
    "finished": Kind(_of_rule(rules.finished), "1 where the reply ended by itself"),
    "contains": Kind(_of_rule(rules.contains), "1 where it holds a text, whatever its case", "TEXT"),
    "lacks": Kind(_of_rule(rules.lacks), "1 where it does not", "TEXT"),
    "matches": Kind(_of_rule(rules.matches), "1 where a regular expression is found", "REGEX"),
    "characters": Kind(_of_rule(rules.characters), "1 at N characters, less the further it is from them", "N"),
    "overlong": Kind(
        _of_rule(rules.overlong_by, range=(-1.0, 0.0), cut=0.0), "DAPO's penalty of long replies", "LENGTH:CACHE"
    ),
}  # fmt: skip


def known() -> str:
    """Returns how settings name judges, for messages and help."""
    names = ", ".join(f"{name}:{kind.setting}" if kind.setting else name for name, kind in JUDGES.items())
    return f"{names}, FILE.py:FUNCTION, all(A,B), any(A,B) and not(A)"


def is_program(setting: str) -> bool:
    """Returns true if a setting names a function of a file, which would be run."""
    return re.search(r"\.py:\w+\s*(?=$|[,)|])", setting) is not None


def _of_file(name: str, c: Context) -> Judge:
    """Returns the judge of a function of a file. The function may have the attributes range, higher_is and cut."""
    found, identity = programs.load(name, f"{c.place}={name!r}", c.folder)
    said = {field: getattr(found, field) for field in ("range", "higher_is", "cut") if hasattr(found, field)}
    return Judge(name, found, **{"range": ANY} | said, identity=identity, on_primary=True)


def _parts(text: str, c: Context) -> list[str]:
    """Returns what stands between commas, but for those inside brackets and those that begin no judge."""
    parts, depth, begins = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0 and _begins_judge(text[place + 1 :].lstrip()):
            parts.append(text[begins:place])
            begins = place + 1
    return [part.strip() for part in (*parts, text[begins:])]


def _begins_judge(text: str) -> bool:
    name = re.match(r"\w+", text)
    return bool(re.match(r"(all|any|not)\(|[^,]*\.py:\w+", text)) or (name is not None and name[0] in JUDGES)


def _combined(how: str, judges: Sequence[Judge]) -> Judge:
    """Returns the judge that says yes where all, any or none of some do; None where that cannot be told."""

    def judge(replies: Sequence[Written]) -> Numbers:
        said = zip(*([None if x is None else x >= j.cut for x in j.judge(replies)] for j in judges), strict=True)
        return [_verdict(how, votes) for votes in said]

    meanings = list(dict.fromkeys(j.higher_is for j in judges))
    return Judge(
        "",
        judge,
        higher_is={"all": " and ", "any": " or "}[how].join(meanings) if how != "not" else f"not {meanings[0]}",
        version=" ".join(j.version for j in judges),
        identity=" ".join(filter(None, (j.identity for j in judges))),
        on_primary=any(j.on_primary for j in judges),
    )


def _verdict(how: str, votes: Sequence[bool | None]) -> float | None:
    if how == "not":
        return None if votes[0] is None else float(not votes[0])
    decides = how == "any"  # one such vote is enough
    if decides in votes:
        return float(decides)
    return None if None in votes else float(not decides)


def _make(text: str, c: Context) -> Judge:
    if found := SEVERAL.fullmatch(text):
        how, parts = found[1], _parts(found[2], c)
        if how == "not" and len(parts) > 1:
            raise UserError(f"{c.place}={text!r}: not(...) takes one judge; write not(any(A,B))")
        return _combined(how, [_make(part, c) for part in parts])._replace(name=text)
    if programs.is_program(text):
        return _of_file(text, c)
    name, _, setting = text.partition(":")
    if name not in JUDGES or bool(JUDGES[name].setting) != bool(setting):
        raise UserError(f"{c.place}={text!r}: no such judge; there are {known()}")
    return JUDGES[name].make(setting, c)._replace(name=text)


def parse(setting: str, behind: Behind = WITHOUT_MODELS, place: str = "--judge", folder: Path = Path()) -> Judge:
    """Returns the judge that a setting names.

    Args:
      behind: what asks reward models, and respondents about rubrics.
      place: the flag or field that holds the setting, for errors.
      folder: what paths in it are relative to.

    Raises:
      UserError: there is no such judge, or it cannot be loaded.
    """
    return _make(setting.strip(), Context(behind, place, folder))


def parse_several(
    settings: Sequence[str], behind: Behind = WITHOUT_MODELS, place: str = "--judge", folder: Path = Path()
) -> list[Judge]:
    """Returns the judges that some settings name, "A,B" two of them; arguments and errors as of `parse`.

    Raises:
      UserError: two have one name.
    """
    c = Context(behind, place, folder)
    found = [_make(part, c) for setting in settings for part in _parts(setting, c)]
    names = [judge.name for judge in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{place}: names {twice!r} twice")
    return found
