"""`moral-jax ask --task=kaleido`: any sentence in; values, rights and duties, and what they come to, out."""

import argparse
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moral_jax.cli import shared
from moral_jax.runtime import terminal
from moral_jax.runtime.strict_json import visible
from moral_jax.tasks import kaleido as task
from moral_jax.tasks import tables
from moral_jax.tasks.questionnaire.folder import TASK, Folder
from moral_jax.types import UserError

if TYPE_CHECKING:
    from moral_jax.analysis.kaleido import Judged
    from moral_jax.workflows.kaleido import Answer, Fitted

OWN = ("values", "explain", "fit", "seed")
COLUMNS = ("kind", "text", "relevant", "supports", "opposes", "either", "label")
WARNING = "relevant: how likely the value is to be named here, not how much it matters"


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of asking about sentences."""
    group.add_argument("--values", metavar="FILE", help="a table of values to judge (kind, text, maybe situation); "
                       "default: the model writes them")  # fmt: skip
    group.add_argument("--explain", action="store_true", help="an explanation of each value, written by the model")
    group.add_argument("--fit", metavar="FILE", help="fit thresholds to held-out rows, and print them as [settings]")


def _cells(value: "Judged") -> list[str]:
    shares = [f"{share:.2f}" for share in (value.relevance, *value.valence)]
    return [value.kind, terminal.printable(value.text), *shares, value.label]


def as_text(answer: "Answer") -> str:
    """Returns a table of the values that are kept, the decision, and what was left out."""
    rows = [list(COLUMNS), *map(_cells, answer.kept)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    said = [terminal.printable(answer.situation)]
    for number, row in enumerate(rows):
        said.append("  " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if answer.explanations and number:
            said.append("    " + terminal.printable(answer.explanations[number - 1]))
    if answer.decision is None:
        said.append("  nothing is relevant enough to decide")
    else:
        labels = zip(COLUMNS[3:6], answer.decision.p, strict=True)
        said.append("  p: " + ", ".join(f"{label} {p:.3f}" for label, p in labels)
                    + f"; entropy {answer.decision.entropy:.3f} nats (0 one-sided, 1.099 evenly divided)")  # fmt: skip
    return "\n".join([*said, f"  {_left_out(answer)}", f"  {WARNING}"])


def _left_out(answer: "Answer") -> str:
    found, by = answer.candidates, Counter(one.by for one in answer.dropped)
    written = f"{found.written} written, {found.unread} of them no value, " if found.written else ""
    reasons = ", ".join(f"{by[name]} by {name}" for name in ("relevance", "words", "meaning"))
    return f"{written}{len(found.values)} different values; left out: {reasons}"


def _as_object(value: "Judged") -> dict[str, Any]:
    return value._asdict() | {"valence": list(value.valence), "label": value.label}


def as_json(answer: "Answer", is_unicode: bool) -> str:
    """Returns one JSON object."""
    decision = answer.decision
    explained = [{"explanation": text} for text in answer.explanations] or [{} for _ in answer.kept]
    said = {
        "situation": answer.situation,
        "values": [_as_object(value) | said for value, said in zip(answer.kept, explained, strict=True)],
        "dropped": [one._asdict() | {"value": _as_object(one.value)} for one in answer.dropped],
        "written": answer.candidates.written,
        "unread": answer.candidates.unread,
        "p": list(decision.p) if decision else None,
        "entropy": decision.entropy if decision else None,
    }
    return visible(json.dumps(said, ensure_ascii=not is_unicode))


def fitted(found: "Fitted") -> str:
    """Returns thresholds as task.toml has them, and what they rest on."""
    t = found.thresholds
    of_kinds = ", ".join(f"{kind} = {share:.4g}" for kind, share in t.relevance.items())
    about = [
        f"# {kind}: balanced accuracy {after:.3f}, before {before:.3f}; {found.rows[kind]} rows"
        for kind, (before, after) in found.accuracy.items()
    ]
    return "\n".join(
        ["[settings]", *about, f"relevance = {{ {of_kinds} }}",
         f"# {found.pairs} pairs of different values of a situation, at most one in twenty taken for the same",
         f"rouge = {t.rouge:.4g}", f"cosine = {t.cosine:.4g}"]
    )  # fmt: skip


def _situations(args: argparse.Namespace) -> list[str]:
    """Returns the sentence of the command, or those of standard input, one a line."""
    if args.file != "-":
        if Path(args.file).is_file():
            raise UserError(f"{args.file}: is a file; expected a sentence, or sentences piped in: < {args.file}")
        if not args.file.strip():
            raise UserError("the sentence is empty")
        return [args.file]
    found = [line.strip() for _, line in tables.lines(sys.stdin.buffer, "standard input")]
    if not found:
        raise UserError("standard input: holds no sentence; expected one a line")
    return found


def run(args: argparse.Namespace, rest: list[str], folder: Folder) -> None:
    """Asks about sentences."""
    seed = args.seed or 0
    if seed < 0:
        raise UserError(f"--seed={seed}: expected 0 or more")
    settings = task.settings(folder.settings, str(folder.path / TASK))
    shared.check_package("rouge_score", "values")
    if args.fit and (unread := next((f for f in ("values", "explain", "json") if getattr(args, f)), None)):
        raise UserError(f"--{unread}: has no meaning beside --fit, which judges the rows of its file")
    if args.seed is not None and (args.fit or args.values):
        raise UserError("--seed: is of candidates that the model writes, and none are written here")
    rows = task.read_labelled(args.fit) if args.fit else []
    situations = [] if args.fit else _situations(args)
    given = task.read_values(args.values) if args.values else None
    answers, who = sys.stdout, shared.respondents(args, rest)
    if len(who) > 1:
        raise UserError(f"--task={args.task}: asks one respondent; name one")
    from moral_jax.workflows import kaleido

    with contextlib.redirect_stdout(sys.stderr):  # answers alone stand in the output
        asked = kaleido.Kaleido(who[0], settings, shared.budget(args), seed)
        if args.fit:
            print(fitted(kaleido.fit(asked, rows)), file=answers)
        for situation in situations:
            answer = asked.answer(situation, given, explains=args.explain)
            is_unicode = terminal.knows_all(answers)
            print(as_json(answer, is_unicode) if args.json else as_text(answer), file=answers, flush=True)
