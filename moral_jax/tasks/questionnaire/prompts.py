"""Reads the rows of a folder whose rows are replied to: prompts.

rows.jsonl has one object a line: id, and `prompt`, `messages` that wait for a reply, or `turns`, what the user says one
after the other; `target` (texts that the wanted reply holds), `human` (what a person wrote in its place), `group`,
`unit` (what rows are resampled by) and `variables`, which rubrics may show. Other tables have a column of prompts. Rows
with `chosen` and `rejected` are preferences, as `tasks.texts` reads them: both replies stand beside those of models.
BOLD's own files are read as they are: {group: {entity: [prompt, ...]}}.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moral_jax.config.task import TaskConfig
from moral_jax.runtime.files import expanded
from moral_jax.tasks import reading, texts
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.questionnaire.questions import Question, check_ids, is_native, paths_of, texts_of
from moral_jax.tasks.rows import Columns, Row, as_text, is_empty, parsed
from moral_jax.tasks.splits import rank
from moral_jax.types import Example, UserError

NATIVE = ("id", "prompt", "messages", "turns", "target", "human", "group", "unit", "variables", "chosen", "rejected")
PAIR = ("chosen", "rejected")
PREFERENCES = TaskConfig(name="preferences")


def _targets(row: Row) -> list[str]:
    value = row.get("target")
    if is_empty(value):
        return []
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(t, str) and t.strip() for t in found):
        raise row.error("target", value, "a text, or a list of texts")
    return found


def _opening(row: Row, column: str) -> tuple[str, list[texts.Turn], list[str]]:
    """Returns what the user says first, the turns before it, and what the user says after each reply."""
    if (said := row.get("turns")) is not None:
        if not isinstance(said, list) or len(said) < 2 or not all(isinstance(t, str) and t.strip() for t in said):
            raise row.error("turns", said, "a list of at least two texts")
        return said[0], [], said[1:]
    prompt = row.get(column)
    is_text = isinstance(prompt, str) and prompt.lstrip()[:1] in ("[", "{") and isinstance(parsed(prompt), str)
    text, turns = (row.clean(column, prompt), []) if is_text else texts.opening(row, column)
    turns = turns or list(texts.messages_of(row, "messages"))
    if not (text or turns):
        raise row.error(column, None, f"a prompt, in {column!r}, 'messages' or 'turns'")
    if not turns:
        return text, [], []
    if turns[-1]["role"] != "user":
        raise row.error(
            "messages", turns[-1], "a conversation that waits for a reply, so that its last turn is a user's"
        )
    return turns[-1]["content"], turns[:-1], []


def _pair(row: Row) -> tuple[str, list[texts.Turn], dict[str, str]] | None:
    """Returns what the user says last, the turns before it, and the replies that people chose and rejected; None where
    a row holds no preference."""
    if any(is_empty(row.get(name)) for name in PAIR):
        return None
    [e] = texts.preference_examples(row, PREFERENCES)
    replies = dict(zip(PAIR, e.options, strict=True))
    if not e.messages:
        return e.text, [], replies
    if e.messages[-1]["role"] != "user":
        raise row.error("chosen", e.messages[-1], "replies to a user's turn")
    return e.messages[-1]["content"], list(e.messages[:-1]), replies


def _group(row: Row) -> dict[str, str]:
    group = row.get("group")
    if isinstance(group, str) and group:
        return {"group": group}
    return texts_of(row, "group", group)


def prompt_of(row: Row, task: Folder, *, is_own: bool) -> Question:
    """Returns the prompt of a row.

    Args:
      is_own: the row has the fields of rows.jsonl, and no others.

    Raises:
      UserError: a field is missing or wrong; names file, line and field.
    """
    assert task.replies is not None, "a folder of prompts"
    if is_own:
        row.only(NATIVE)
    pair = _pair(row)
    column = "prompt" if is_own else task.replies.prompt
    text, before, later = (pair[0], pair[1], []) if pair else _opening(row, column)
    name = as_text(row.get("id")) or row.where.rpartition("/")[2]
    groups = _group(row) if is_own else {}
    variables = texts_of(row, "variables", row.get("variables")) if is_own else {}
    human = row.get("human")
    if not is_empty(human) and not isinstance(human, str):
        raise row.error("human", human, "a text")
    notes = {
        "target": _targets(row),
        "human": "" if is_empty(human) else human,
        "turns": later,
        "unit": as_text(row.get("unit")) or name,
    }
    notes |= {"pair": pair[2]} if pair else {}
    notes |= {"variables": variables} if variables else {}
    text = text.rstrip() if task.replies.plain else text
    example = Example(name, "", ("",), (1.0,), text=text, messages=tuple(before), groups=groups)
    return Question(example, row.where, False, (), None, False, variables | {"prompt": text}, notes)


def _nested(path: str) -> dict[str, dict[str, list[str]]] | None:
    """Returns a file of the form {group: {entity: [text, ...]}}; None for any other."""
    file = expanded(path)
    if file.suffix != ".json" or not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the reader of tables says what is wrong

    def are_texts(of: Any) -> bool:
        return isinstance(of, dict) and bool(of) and all(
            isinstance(t, list) and all(isinstance(x, str) for x in t) for t in of.values()
        )  # fmt: skip

    return found if isinstance(found, dict) and found and all(map(are_texts, found.values())) else None


def _of_nested(path: str, of: dict[str, dict[str, list[str]]], human: str | None) -> Iterator[Row]:
    """Yields a row for each text of a nested file, with what people wrote in a file of the same form."""
    kind = Path(path).stem.removesuffix("_prompt")
    written = _nested(human) if human else {}
    if written is None:
        raise UserError(f"--human={human}: expected a JSON file {{group: {{entity: [text, ...]}}}}, as {path} is")
    for group, entities in of.items():
        for entity, said in entities.items():
            whole = written.get(group, {}).get(entity, [])
            for n, text in enumerate(said):
                if not text.strip():
                    continue
                own = whole[n] if n < len(whole) and whole[n].startswith(text.rstrip()) else ""
                values = {
                    "id": f"{group}/{entity}/{n}", "prompt": text, "group": {kind: group}, "unit": entity,
                    "human": own[len(text.rstrip()) :].strip(),
                }  # fmt: skip
                yield Row(values, f"{path}: {group}/{entity}[{n}]")


def _rows(path: str, human: str | None) -> tuple[Iterable[Any], bool]:
    """Returns the rows of a file, and whether they have the fields of rows.jsonl and no others."""
    nested = _nested(path)
    if nested is not None:
        return _of_nested(path, nested, human), True
    if human:
        raise UserError(f"--human={human}: is for BOLD's nested files; other rows have a field 'human'")
    return reading.opened(path, Columns(), "rows", "--rows").rows, is_native(path)


def _prompts(
    path: str, task: Folder, human: str | None, bad: reading.BadRows, *, is_own: bool = False
) -> Iterator[Question]:
    """Yields the prompts of a file; notes the bad rows."""
    rows, is_native = _rows(path, human)
    for row in rows:
        try:
            if isinstance(row, UserError):
                raise row
            yield prompt_of(row, task, is_own=is_own or is_native)
        except UserError as e:
            bad.add(e)


def read(
    task: Folder, path: str | None = None, human: str | None = None, limit: int | None = None, *,
    per_group: int | None = None, drops_bad: bool = False,
) -> list[Question]:  # fmt: skip
    """Reads the prompts of a folder.

    Args:
      path: a table in place of the folder's own rows; what `also` names is read besides.
      human: a file of what people wrote in place of replies, of the form of BOLD's.
      limit: only so many rows, those that come first, and all that `also` names.
      per_group: draw so many rows of each group.
      drops_bad: leave bad rows out, and say which.

    Raises:
      UserError: a file is missing, rows are bad (names the first twenty), or two have one id.
    """
    assert task.replies is not None, "a folder of prompts"
    named = [path] if path is not None else paths_of(task)
    also = [str(task.path / task.replies.also)] if task.replies.also else []
    bad = reading.BadRows()
    found = [q for name in named for q in _prompts(name, task, human, bad)][:limit]
    found += [q for name in also for q in _prompts(name, task, None, bad, is_own=True)]
    bad.settle(found, " ".join(named), drops=drops_bad)
    check_ids(found)
    return drawn(found, per_group) if per_group else found


def drawn(found: Sequence[Question], per_group: int) -> list[Question]:
    """Returns at most so many rows of each group, by the hash of their ids: the same ones whatever else is there."""
    of_group: dict[str, list[Question]] = {}
    for question in found:
        of_group.setdefault(json.dumps(question.example.groups), []).append(question)
    chosen = {
        question.example.id
        for of in of_group.values()
        for question in sorted(of, key=lambda q: rank(q.example.id, 0))[:per_group]
    }
    return [question for question in found if question.example.id in chosen]
