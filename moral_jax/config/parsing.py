"""Configs from files and flags of the command line, and `--help` on every field."""

import ast
import contextlib
import difflib
import functools
import inspect
import itertools
import runpy
import sys
import traceback
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from moral_jax.config import renamed
from moral_jax.config.build import build, default
from moral_jax.config.checks import field_type, item_type
from moral_jax.config.experiment import Config
from moral_jax.config.saved import FIELDS, flatten
from moral_jax.runtime import secrets
from moral_jax.types import UserError

FILE_FLAG, FIELD_FLAG = "--config=", "--config."
SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def without_secrets(config: Config) -> Config:
    """The config, if no field holds a key or password: runs write their config down.

    Raises:
      UserError: one does; names the field and what it holds, never the value.
    """
    for name, value in flatten(config).items():
        for text in _texts(value):
            secrets.refuse(f"{FIELD_FLAG}{name}", text)
    return config


def _texts(value: Any) -> Iterator[str]:
    """Yields all texts in a value of a field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def unknown_field(name: str) -> UserError:
    """The error for a field that does not exist, with the nearest that does."""
    if now := renamed.hint(name):
        return UserError(f"{FIELD_FLAG}{name}: {now}")
    inside = [known for known in FIELDS if known.startswith(f"{name}.")]
    if inside:
        return UserError(f"{FIELD_FLAG}{name}: is a section; its fields are {', '.join(inside)}")
    by_last = {known.rsplit(".", 1)[-1]: known for known in FIELDS}
    near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.7)
    near = near or [by_last[m] for m in difflib.get_close_matches(name.rsplit(".", 1)[-1], by_last, n=1)]
    hint = f"did you mean {FIELD_FLAG}{near[0]}?" if near else "see train.py --help for all fields"
    return UserError(f"{FIELD_FLAG}{name}: no such field; {hint}")


def parse(name: str, text: str) -> Any:
    """Reads a field's value from a flag, by the field's type."""
    if item_type(FIELDS[name]):
        raise UserError(f"{FIELD_FLAG}{name}: holds whole sections; write them in a config file (config.source)")
    kind, optional, *_ = field_type(FIELDS[name])
    if optional and text.lower() == "none":
        return None
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{FIELD_FLAG}{name}={text}: expected true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except (ValueError, OverflowError):
        or_none = " or none" if optional else ""
        raise UserError(f"{FIELD_FLAG}{name}={text}: expected {kind.__name__}{or_none}") from None


def explain() -> str:
    """Every field with its default and what it does, for --help."""
    lines = []
    for name in FIELDS:
        section, _, field = name.rpartition(".")
        owner: Any = Config
        for part in section.split("."):
            owner = typing.get_type_hints(owner)[part]
        lines.append(f"  {FIELD_FLAG}{name}={getattr(owner(), field)}{_values(name)}")
        lines += [f"      {line.strip()}" for line in docstrings(owner).get(field, "").splitlines()]
    return "\n".join(lines)


def _values(name: str) -> str:
    """Returns the values of a field for --help, where its annotation limits them."""
    of = field_type(FIELDS[name])
    if of.choices:
        return f"   ({' | '.join(of.choices)})"
    return f"   ({of.words})" if of.words else ""


@functools.cache
def docstrings(section: type) -> dict[str, str]:
    """The string that stands under each field of a section, read from the source."""
    definition = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(definition, ast.ClassDef), "the source of a class"
    docs: dict[str, str] = {}
    for field, below in itertools.pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text
    return docs


def split_preset(file: str) -> tuple[str, str | None]:
    """Splits FILE:PRESET, for a file whose get_config takes the name of a preset; FILE alone has none."""
    path, colon, preset = file.rpartition(":")
    return (path, preset) if colon and not Path(file).is_file() else (file, None)


def run_name(file: str) -> str:
    """Returns the name of the runs of a config file."""
    path, preset = split_preset(file)
    return Path(path).stem + (f"-{preset}" if preset else "")


def _find(path: str) -> Path:
    """Returns a config file: a path, or the name of one that ships with the package, such as demo.

    Raises:
      UserError: there is no such file; names the shipped one of the nearest name.
    """
    if Path(path).is_file():
        return Path(path)
    shipped = {file.relative_to(SHIPPED): file for file in sorted(SHIPPED.glob("**/*.py"))}
    wanted = Path(path.removeprefix("configs/")).with_suffix(".py")
    matches = [file for name, file in shipped.items() if wanted in (name, Path(name.name))]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(str(file.relative_to(SHIPPED).with_suffix("")) for file in matches)
        raise UserError(f"{FILE_FLAG}{path}: several configs have this name; say which: {names}")
    known = [str(name.with_suffix("")) for name in shipped]
    near = difflib.get_close_matches(str(wanted.with_suffix("")), known, n=1)
    did = f"; did you mean {FILE_FLAG}{near[0]}?" if near else ""
    raise UserError(f"{FILE_FLAG}{path}: no such file, and no config of that name ships with moral_jax{did}")


@contextlib.contextmanager
def _user_code(path: str) -> Iterator[None]:
    """Turns errors of a config file into a UserError with the line, and without our part of the traceback."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # the file is a program of the user's own, which may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == path]
        line = e.lineno if isinstance(e, SyntaxError) and e.filename == path else lines[-1] if lines else None
        message = (
            f"{e.msg}" if isinstance(e, SyntaxError) else str(e).partition(" Other fields present")[0].strip("'\"")
        )
        where = f"{path}:{line}" if line else path
        remedy = renamed.hint_for_missing(message) or "correct the file"
        raise UserError(f"{FILE_FLAG}{where}: failed with {type(e).__name__}: {message}; {remedy}") from e


def from_file(file: str, function: str) -> Any:
    """Calls a function of a config file, with the preset where FILE:PRESET names one, and returns its result.

    Raises:
      UserError: the file or the function is missing, there are no presets, or the function failed.
    """
    name, preset = split_preset(file)
    path = str(_find(name))
    with _user_code(path):
        get = runpy.run_path(path).get(function)
    if not callable(get):
        raise UserError(f"{FILE_FLAG}{path}: the file defines no {function}()")
    if preset and not inspect.signature(get).parameters:
        raise UserError(f"{FILE_FLAG}{file}: {path} has no presets; leave out ':{preset}'")
    with _user_code(path):
        return get(preset) if preset else get()


def source(name: str, file: str, weight: float = 1.0, **task: Any) -> dict[str, Any]:
    """Returns a source of a mixture for `config.task.sources`, task and prompt of another config file.

    For example::

        c.task.name = "mixture"
        c.task.sources = (
            config.source("dilemmas", "scruples/smollm2_dilemmas", path="dev.jsonl"),
            config.source("moca", "votes/moca", path="moral.jsonl", weight=2.0),
        )

    Args:
      name: its name on the page, and in `config.task.train_on`.
      file: a config file, or the name of one that ships with moral_jax.
      weight: how often an epoch shows each of its training rows.
      task: fields of the task that differ, such as path; those of `fields` as **{"fields.by": "gender"}.

    Raises:
      UserError: there is no such file or field.
    """
    config = from_file(file, "get_config")
    try:
        config.task.update_from_flattened_dict(task)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UserError(f"config.source({name!r}, {file!r}): {str(e).strip(chr(39))}") from e
    return {"name": name, "weight": weight, "task": config.task.to_dict(), "prompt": config.prompt.to_dict()}


def questionnaire(name: str) -> str:
    """Returns the folder of a questionnaire that ships with moral_jax, for config files that train on its rows."""
    return str(SHIPPED.parent / "questionnaires" / name)


def flags(file: str | None, rest: list[str]) -> list[str]:
    """What `from_flags` reads, where the command line has taken --config=FILE out already."""
    return ([f"{FILE_FLAG}{file}"] if file else []) + rest


def from_flags(arguments: list[str], file_needed: bool = True) -> Config:
    """Reads `--config=FILE` and any number of `--config.SECTION.FIELD=VALUE`, in whatever order.

    Without `file_needed`, no file means all defaults.

    Raises:
      UserError: the file is missing or wrong, a field does not exist, a value has the wrong type or range.
    """
    file: str | None = None
    overrides: dict[str, Any] = {}
    for argument in arguments:
        if argument.startswith(FILE_FLAG):
            file = argument.removeprefix(FILE_FLAG)
            continue
        name, equals, text = argument.removeprefix(FIELD_FLAG).partition("=")
        if not argument.startswith(FIELD_FLAG):
            raise UserError(f"{argument}: unknown argument; settings are given as {FIELD_FLAG}SECTION.FIELD=VALUE")
        new = renamed.replacement(name, text)
        if name not in FIELDS and new is None:
            raise unknown_field(name)
        if not equals:
            raise UserError(f"{argument}: a value is missing; write {argument}=VALUE")
        if new is not None:
            print(f"note: {renamed.hint(name)}", file=sys.stderr)
        overrides |= {
            field: parse(field, "none" if value is None else value) for field, value in (new or {name: text}).items()
        }
    if file is None and file_needed:
        raise UserError(f"{FILE_FLAG}FILE is missing; try {FILE_FLAG}configs/demo.py")
    config = from_file(file, "get_config") if file else default()
    if not isinstance(config, ConfigDict):
        raise UserError(f"{FILE_FLAG}{file}: get_config() returns {type(config).__name__}; expected config.default()")
    try:
        config.update_from_flattened_dict(overrides)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UserError(f"{FILE_FLAG}{file}: get_config() returns something else than config.default() ({e})") from e
    return without_secrets(build(config))
