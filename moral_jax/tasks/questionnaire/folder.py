"""Reads task.toml, the file that says what a questionnaire is.

Every key is declared in `Folder`, with its default and its words. A folder is found by its path, or by its name among
those that are shipped.
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from moral_jax.config.task import FieldsConfig
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

SHIPPED = Path(__file__).resolve().parents[2] / "questionnaires"
TASK = "task.toml"
NATIVE_FIELDS = FieldsConfig(title="{title}")  # of rows.jsonl
Orders = Literal["rotations", "reversal", "all", "given"]
ORDERS: tuple[str, ...] = get_args(Orders)
GRAPH, CASE, UTILITIES = "graph", "decide", "utilities"  # tallies of other commands
KALEIDO = "kaleido"  # of sentences that are no rows
OTHERS = {  # what folders with such a tally are, and who asks them
    KALEIDO: 'judges any sentence and counts no rows: moral-jax ask --task={name} --model=... "a sentence"',
    GRAPH: "holds cards of values; ask and count them: moral-jax graph {name} --model=...",
    UTILITIES: "its outcomes are compared in pairs; ask them: moral-jax elicit {name} --model=...",
}


@dataclasses.dataclass(frozen=True)
class TableFields:
    """[fields]: columns of tables that are no rows.jsonl. Beside these, all fields of `config.task.fields` for votes;
    `options` may be templates, "{action 1}|{action 2}"."""

    tags: str = "tags"
    """Column with a list of tags for each option; a column for each option, "values 1|values 2"; or columns by how they
    begin, "a1_*|a2_*", whose tags are NAME=VALUE."""
    gold: str = "gold"
    """Column with the option that is right."""
    reverse: str = "reverse"
    """Column that is true where the scale runs the other way."""
    row: str = ""
    """For tables with a row for each option: template of the name of the question."""
    option: str = ""
    """For tables with a row for each option: template of the option."""


@dataclasses.dataclass(frozen=True)
class MapFile:
    """[map]: a table of the labels that a tag has."""

    file: str = "map.csv"
    """Its name in the folder, a path, or a data set of the hub."""
    tag: str = "tag"
    """The column of tags."""
    columns: tuple[str, ...] = ()
    """The columns of labels, several in a cell separated by "|"."""
    once: bool = False
    """True if a tag that an option names twice counts once."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """[axes.NAME]: one axis of conditions."""

    none: bool = True
    """False if a row is never asked without a condition of this axis."""
    asked: tuple[str, ...] = ()
    """The conditions that are asked where --condition does not name others; default: all."""


@dataclasses.dataclass(frozen=True)
class Replies:
    """[replies]: rows are prompts that are replied to, and judges say a number of each reply."""

    judges: tuple[str, ...] = ()
    """Judges by the names of moral-jax judge --help; paths are relative to the folder."""
    samples: int = 1
    """Replies to each prompt."""
    max_tokens: int = 128
    """Tokens of a reply at most."""
    temperature: float = 1.0
    """Logits are divided by it; 0: the likeliest token."""
    top_p: float = 1.0
    """Only the fewest likeliest tokens that have this probability together; 1: all."""
    seed: int = 0
    """Of the random numbers."""
    stop: tuple[str, ...] = ()
    """Texts at which a reply is over."""
    plain: bool = False
    """True if prompts are texts that are gone on with, without a chat template."""
    prompt: str = "prompt"
    """Column of the prompt, in tables that are no rows*.jsonl."""
    hides: bool = False
    """True if tables that --rows names are taken to ask for harm, as `harmful` says it of the folder's own."""
    also: str = ""
    """A file of rows in the folder that are asked besides, whatever --rows names."""


@dataclasses.dataclass(frozen=True)
class Folder:
    """What task.toml says."""

    TABLES: ClassVar[tuple[str, ...]] = ("settings", "fields", "map", "axes", "replies")

    path: Path
    title: str = ""
    """Name on the page."""
    about: str = ""
    """One or two sentences for the page: what is asked."""
    paper: str = ""
    """The paper that it follows."""
    licence: str = ""
    """Licence of the rows."""
    attribution: str = ""
    """Who is to be named with them."""
    sample: bool = False
    """True if the rows are a sample of the project's own writing, not the paper's."""
    rows: str = "rows*.jsonl"
    """Files of rows in the folder, a path, or a data set of the hub."""
    conditions: str = "conditions*.jsonl"
    """Files of conditions in the folder."""
    frequencies: str = ""
    """A table value,percent in place of rows: how often values were seen."""
    tally: str = "shares"
    """How answers are counted: `analysis.tallies`."""
    orders: Orders = "rotations"
    """Orders in which options are shown: rotations, reversal, all, given."""
    scale: bool = False
    """True if options are points of a scale: their own digits are the labels."""
    template: str = "{text}\n\n{question}\n\n{options}"
    """The user message, with {question}, {title}, {text} and {options}. What stands first is computed once for all rows
    that begin with it."""
    surface: str = "longest"
    """The scripted respondent that answers by the surface of options: longest or number."""
    harmful: bool = False
    """True if rows ask for harm: no page and no log shows a text, and records keep none unless --keep-texts."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """[settings] of the tally."""
    votes: FieldsConfig = NATIVE_FIELDS
    fields: TableFields | None = None
    labels: MapFile | None = None
    axes: dict[str, Axis] = dataclasses.field(default_factory=dict)
    replies: Replies | None = None

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name


def shipped() -> list[str]:
    """Returns the names of the questionnaires that are shipped."""
    return sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{TASK}"))


def find(name: str) -> Path:
    """Returns the folder of a questionnaire: a path, or the name of one that is shipped.

    Raises:
      UserError: there is no such folder.
    """
    for folder in (expanded(name), SHIPPED / name):
        if (folder / TASK).is_file():
            return folder
    where = f"{name} has no {TASK}" if expanded(name).is_dir() else "no such folder"
    raise UserError(f"--task={name}: {where}; expected a folder with a {TASK}, or one of {', '.join(shipped())}")


def only_asked(task: Folder, name: str) -> None:
    """Raises UserError for what another command asks and counts."""
    if task.tally in OTHERS:
        raise UserError(f"{name}: {OTHERS[task.tally].format(name=name)}")


def _check(where: str, key: str, value: Any, kind: type, expected: str) -> Any:
    if kind is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{where}: {key}: found {shown(value)}, expected {expected}")
    return value


EXPECTED = {
    str: "a text", bool: "true or false", tuple: "a list of texts", dict: "a table", int: "a whole number",
    float: "a number",
}  # fmt: skip


def _section(cls: type, values: Any, where: str, prefix: str) -> Any:
    """Returns a dataclass of texts, numbers, booleans and lists of texts; unknown keys are refused."""
    known = {f.name: f for f in dataclasses.fields(cls)}
    checked = {}
    for key, value in _check(where, prefix.rstrip("."), values, dict, EXPECTED[dict]).items():
        if key not in known:
            raise UserError(f"{where}: {prefix}{key}: no such key; there are {', '.join(known)}")
        kind = type(known[key].default)
        checked[key] = _check(where, f"{prefix}{key}", value, kind, EXPECTED[kind])
    return cls(**checked)


def _fields(values: dict[str, Any], where: str) -> tuple[FieldsConfig, TableFields]:
    own = {f.name for f in dataclasses.fields(TableFields)}
    of_votes = {f.name for f in dataclasses.fields(FieldsConfig)}
    for key in values:
        if key not in own | of_votes:
            raise UserError(f"{where}: fields.{key}: no such key; there are {', '.join(sorted(own | of_votes))}")
    votes = _section(FieldsConfig, {k: v for k, v in values.items() if k in of_votes}, where, "fields.")
    return votes, _section(TableFields, {k: v for k, v in values.items() if k in own}, where, "fields.")


def read(name: str) -> Folder:
    """Reads the task.toml of a questionnaire.

    Args:
      name: a path, or the name of one that is shipped.

    Raises:
      UserError: there is none, it is no TOML, or a key is unknown or of another kind; names file and key.
    """
    path = find(name)
    where = str(path / TASK)
    try:
        values = tomllib.loads((path / TASK).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UserError(f"{where}: cannot be read as TOML ({e})") from e
    has_map, has_replies = "map" in values, "replies" in values
    tables = {key: _check(where, key, values.pop(key, {}), dict, EXPECTED[dict]) for key in Folder.TABLES}
    own = {f.name: f.default for f in dataclasses.fields(Folder) if isinstance(f.default, str | bool)}
    for key, value in values.items():
        if key not in own:
            raise UserError(f"{where}: {key}: no such key; there are {', '.join([*own, *Folder.TABLES])}")
        _check(where, key, value, type(own[key]), EXPECTED[type(own[key])])
    for key in ("rows", "conditions"):
        if key in values and (Path(values[key]).is_absolute() and key == "conditions" or not values[key]):
            raise UserError(f"{where}: {key}: found {shown(values[key])}, expected the name of a file in the folder")
    if "{question}" not in values.get("template", "{question}"):
        raise UserError(f"{where}: template: does not show {{question}}")
    if values.get("orders", "given") not in ORDERS:
        raise UserError(f"{where}: orders: found {shown(values['orders'])}, expected one of {', '.join(ORDERS)}")
    votes, fields = _fields(tables["fields"], where) if tables["fields"] else (NATIVE_FIELDS, None)
    labels = _section(MapFile, tables["map"], where, "map.") if has_map else None
    axes = {axis: _section(Axis, of_axis, where, f"axes.{axis}.") for axis, of_axis in tables["axes"].items()}
    replies = _section(Replies, tables["replies"], where, "replies.") if has_replies else None
    return Folder(
        path, **values, settings=tables["settings"], votes=votes, fields=fields, labels=labels, axes=axes,
        replies=replies,
    )  # fmt: skip
