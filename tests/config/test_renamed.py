"""Fields of version 0.1 under their old names: on the command line, in saved configs, and in config files."""

import json

import pytest

from moral_jax.config import Config, parsing, renamed, saved
from moral_jax.config.respondent import RespondentConfig
from moral_jax.types import UserError

# Every old field: a value that is not the default, what it is now, and the value as it is read.
OLD = {
    "prompt.cue": ("So:", "prompt.answer_prefix", "So:"),
    "train.keep": ("last", "train.select", "last"),
    "train.orders": ("1", "train.orders_per_epoch", 1),
    "objective.concentration_value": ("3.5", "objective.initial_concentration", 3.5),
    "eval.before": ("false", "eval.initial", False),
}
# One old field was three settings.
FAMILIES = {
    "clean": {"prompt.format": None},  # the default, which is chat
    "plain": {"prompt.format": "plain"},
    "paper": {"prompt.format": "paper"},
    "each": {"model.head": "score"},
    "classes": {"model.head": "classes"},
}
FAMILY_IS = "prompt.family is prompt.format (chat, plain, paper) and model.head (vocabulary, score, classes) now"


def changed(config):
    """The fields that are not at their defaults."""
    plain = saved.flatten(Config())
    return {name: value for name, value in saved.flatten(config).items() if value != plain[name]}


def flagged(*flags):
    return parsing.from_flags(list(flags), file_needed=False)


def read(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    return saved.read(tmp_path / "config.json")


def test_there_is_no_old_field_beside_those_that_are_tested_here():
    assert {name: now for name, (_, now, _) in OLD.items()} == renamed.RENAMED
    assert FAMILIES == renamed.FAMILIES
    assert not {*OLD, renamed.FAMILY} & set(saved.FIELDS)
    assert {now for _, now, _ in OLD.values()} <= set(saved.FIELDS)


@pytest.mark.parametrize("name", OLD)
def test_an_old_flag_is_taken_and_its_new_name_said(name, capsys):
    text, now, value = OLD[name]
    assert changed(flagged(f"--config.{name}={text}")) == {now: value}
    assert capsys.readouterr().err == f"note: {name} is {now} now\n"


def differs(fields):
    """Those fields that are not the default."""
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_family_is_taken_and_its_new_names_said(family, capsys):
    assert changed(flagged(f"--config.prompt.family={family}")) == differs(FAMILIES[family])
    assert capsys.readouterr().err == f"note: {FAMILY_IS}\n"


def test_a_new_flag_needs_no_note(capsys):
    assert changed(flagged("--config.train.select=last")) == {"train.select": "last"}
    assert capsys.readouterr().err == ""


def test_the_last_of_an_old_and_a_new_flag_counts():
    old, new = "--config.train.orders=3", "--config.train.orders_per_epoch=5"
    assert flagged(old, new).train.orders_per_epoch == 5
    assert flagged(new, old).train.orders_per_epoch == 3


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.train.orders=two", "--config.train.orders_per_epoch=two: expected int"),
        ("--config.train.orders=0", "config.train.orders_per_epoch=0: expected at least 1"),
        ("--config.train.keep=worst", "config.train.select='worst': expected 'best' or 'last'"),
        ("--config.eval.before=no", "--config.eval.initial=no: expected true or false"),
        ("--config.train.orders", "--config.train.orders: a value is missing"),
        ("--config.prompt.family=dirty", "--config.prompt.family: prompt.family is prompt.format"),
        ("--config.prompt.family", "--config.prompt.family: prompt.family is prompt.format"),
    ],
)
def test_a_wrong_value_of_an_old_flag_is_named_under_the_new_name(flag, message):
    with pytest.raises(UserError, match=f"^{message}"):
        flagged(flag)


@pytest.mark.parametrize("name", OLD)
def test_an_old_field_of_a_saved_config_is_read(name, tmp_path):
    _, now, value = OLD[name]
    section, _, field = name.partition(".")
    assert changed(read(tmp_path, {section: {field: value}})) == {now: value}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_family_of_a_saved_config_is_read(family, tmp_path):
    values = {"prompt": {"family": family, "orders": "given"}, "model": {"path": "m"}}
    assert changed(read(tmp_path, values)) == differs(FAMILIES[family]) | {"prompt.orders": "given", "model.path": "m"}


def test_new_fields_of_an_old_section_stay_as_they_are(tmp_path):
    config = flagged("--config.train.select=last", "--config.task.fields.id={name}", "--config.optim.clip=none")
    saved.save(config, tmp_path / "config.json")
    values = json.loads((tmp_path / "config.json").read_text())
    assert renamed.modernise(values) == values
    assert saved.read(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("path", "respondent"),
    [
        ("baseline:fewest_words", RespondentConfig("baseline", "fewest_words")),
        (
            "api:gpt-4o at https://api.openai.com/v1/chat/completions, 20 likeliest tokens",
            RespondentConfig("api", "gpt-4o"),
        ),
        (
            "api:org/m:1 at http://localhost:8000/v1/completions, 5 likeliest tokens",
            RespondentConfig("api", "org/m:1", "http://localhost:8000/v1", "completions", 5),
        ),
    ],
)
def test_who_answered_in_version_0_1_is_found_in_the_models_path(path, respondent, tmp_path):
    config = read(tmp_path, {"model": {"path": path, "dtype": "float32"}})
    assert config.respondent == respondent
    assert config.model.path == Config().model.path
    assert config.model.dtype == "float32"


@pytest.mark.parametrize("path", ["package:name/file.gguf", "OWNER/MODEL", "C:/folder", "/a/baseline:x"])
def test_a_model_of_version_0_1_keeps_its_path(path, tmp_path):
    assert changed(read(tmp_path, {"model": {"path": path}})) == {"model.path": path}


def test_an_old_family_that_never_was_is_refused(tmp_path):
    with pytest.raises(UserError, match="config.json: not a config .*config.prompt.family: no such field"):
        read(tmp_path, {"prompt": {"family": "dirty"}})


@pytest.mark.parametrize(
    ("name", "hint"),
    [*((name, f"{name} is {now} now") for name, (_, now, _) in OLD.items()), ("prompt.family", FAMILY_IS)],
)
def test_an_old_field_in_a_config_file_is_met_with_its_new_name(name, hint, tmp_path):
    file = tmp_path / "c.py"
    file.write_text(
        f"from moral_jax import config\n\ndef get_config():\n    c = config.default()\n    c.{name} = 1\n    return c\n"
    )
    with pytest.raises(UserError) as refusal:
        parsing.from_flags([f"--config={file}"])
    said = str(refusal.value)
    assert said.startswith(f"--config={file}:5: failed with AttributeError: ")
    assert said.endswith(f"; {hint}")


def test_any_other_mistake_in_a_config_file_has_no_new_name():
    assert renamed.hint_for_missing('Key "lrr" does not exist and cannot be added') == ""
    assert renamed.hint_for_missing("division by zero") == ""
    assert renamed.hint("optim.lr") == ""
    assert renamed.replacement("optim.lr", "1") is None
