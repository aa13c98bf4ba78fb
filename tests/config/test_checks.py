"""What annotations say, checks against them, and help that says the same; shipped configs found by name."""

import dataclasses
import re
from typing import Annotated, Literal, Optional

import pytest

from moral_jax.config import checks, parsing, saved
from moral_jax.config.checks import AT_LEAST_1, SHARE, FieldType, check_fields, check_unread, field_type
from moral_jax.config.task import FieldsConfig
from moral_jax.types import UserError

Side = Literal["left", "right"]


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    side: Side = "left"
    other: Side | None = None
    rank: Annotated[int, AT_LEAST_1] = 3
    limit: Annotated[float, SHARE] | None = None
    free: str = ""


@pytest.mark.parametrize(
    ("annotation", "want"),
    [
        (int, FieldType(int)),
        (str, FieldType(str)),
        (bool | None, FieldType(bool, optional=True)),
        (None | float, FieldType(float, optional=True)),
        (Optional[int], FieldType(int, optional=True)),  # noqa: UP045  (another form of the same)
        (Side, FieldType(str, choices=("left", "right"))),
        (Side | None, FieldType(str, optional=True, choices=("left", "right"))),
        (Annotated[int, AT_LEAST_1], FieldType(int, limits=AT_LEAST_1)),
        (Annotated[float, SHARE] | None, FieldType(float, optional=True, limits=SHARE)),
        (FieldsConfig, FieldType(FieldsConfig)),
    ],
)
def test_an_annotation_is_taken_apart(annotation, want):
    assert field_type(annotation) == want


def test_values_of_a_field_in_words():
    assert field_type(Side | None).words == "'left' or 'right'"
    assert field_type(Annotated[int, AT_LEAST_1]).words == "at least 1"
    assert field_type(int).words == ""


RANGES = {  # values inside and outside
    "AT_LEAST_0": ((0, 7), (-1, -1e-9)),
    "AT_LEAST_1": ((1, 2.5), (0, 0.99)),
    "EPOCHS": ((0, 10_000), (-1, 10_001)),
    "DRAWS": ((10, 100_000), (9, 100_001)),
    "RESAMPLES": ((100, 100_000), (99, 100_001)),
    "POSITIVE": ((1e-9, 3), (0, -1)),
    "ABOVE_1": ((1.001, 3), (1, 0, -1)),
    "SHARE": ((0, 0.5, 1), (-0.01, 1.01)),
    "SHARE_BELOW_1": ((0, 0.99), (1, -0.01)),
    "SHARE_BELOW_HALF": ((0, 0.49), (0.5, -0.01)),
    "SHARE_ABOVE_0": ((0.01, 1), (0, 1.01)),
    "BELOW_1": ((0, 0.999), (1, -0.01)),
    "AXIS_SIZE": ((1, 8, -1), (0, -2)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_holds_its_ends_and_no_more(name):
    limits, (inside, outside) = getattr(checks, name), RANGES[name]
    assert all(map(limits.holds, inside))
    assert not any(map(limits.holds, outside))


def test_there_is_no_range_beside_those_that_are_tested_here():
    assert {name for name, value in vars(checks).items() if isinstance(value, checks.Range)} == set(RANGES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side": "up"}, "config.demo.side='up': expected 'left' or 'right'"),
        ({"side": None}, "config.demo.side=None: expected 'left' or 'right'"),
        ({"other": "Left"}, "config.demo.other='Left': expected 'left' or 'right'"),
        ({"rank": 0}, "config.demo.rank=0: expected at least 1"),
        ({"limit": 1.5}, "config.demo.limit=1.5: expected a share in [0, 1]"),
    ],
)
def test_a_value_that_the_annotation_excludes_is_named(values, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check_fields(DemoConfig(**values))


def test_values_that_the_annotation_allows():
    check_fields(DemoConfig())
    check_fields(DemoConfig(side="right", other="left", rank=1, limit=0, free="anything"))


def test_a_field_that_nobody_reads_must_not_be_set():
    check_unread(DemoConfig(rank=7), ("side", "limit"), "there is no side")
    message = "config.demo.rank=7: expected 3, because there is no side"
    with pytest.raises(UserError, match=f"^{message}$"):
        check_unread(DemoConfig(rank=7), ("side", "rank"), "there is no side")


@pytest.mark.parametrize(
    ("annotation", "value", "want"),
    [
        (float, 3, 3.0),
        (float | None, None, None),
        (int, 2**31 - 1, 2**31 - 1),
        (int, 1 - 2**31, 1 - 2**31),
        (bool, False, False),
        (str, "", ""),
        (Annotated[float, SHARE], 5, 5.0),  # ranges are for the section
    ],
)
def test_a_value_of_the_fields_type(annotation, value, want):
    got = checks.check_value("demo.x", annotation, value)
    assert (got, type(got)) == (want, type(want))


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 1.0, "a whole number below 2**31"),
        (int, True, "a whole number below 2**31"),
        (int, 2**31, "a whole number below 2**31"),
        (int, -(2**31), "a whole number below 2**31"),
        (int | None, "3", "a whole number below 2**31 or none"),
        (int, None, "a whole number below 2**31"),
        (float, "3", "a finite number"),
        (float, True, "a finite number"),
        (float, float("inf"), "a finite number"),
        (float, float("nan"), "a finite number"),
        (bool, 0, "true or false"),
        (str, 3, "a text"),
        (Side | None, 3, "a text or none"),
    ],
)
def test_a_value_of_another_type_is_named(annotation, value, expected):
    message = re.escape(f"config.demo.x={value!r}: expected {expected}")
    with pytest.raises(UserError, match=f"^{message}$"):
        checks.check_value("demo.x", annotation, value)


def test_a_text_that_hides_what_it_says_is_refused():
    with pytest.raises(UserError, match=r"^config.demo.x: holds the character U\+202E at position 2, .*; remove it$"):
        checks.check_value("demo.x", str, "a\u202eb")


@pytest.fixture(scope="module")
def explained():
    """What --help says of each field: its line, and the lines below."""
    found = {}
    for line in parsing.explain().splitlines():
        if line.startswith("  --config."):
            name = line.strip().removeprefix("--config.").partition("=")[0]
            found[name] = [line.strip()]
        else:
            found[name].append(line.strip())
    return found


def test_every_field_is_explained(explained):
    assert list(explained) == list(saved.FIELDS)
    for name, (_, *docs) in explained.items():
        assert any(len(line) > 5 for line in docs), name


def test_help_shows_defaults_choices_and_ranges(explained):
    first = {name: lines[0] for name, lines in explained.items()}
    assert first["adapter.kind"] == "--config.adapter.kind=none   (none | lora | dora)"
    assert first["prompt.format"] == "--config.prompt.format=None   (chat | plain | paper)"
    assert first["optim.clip"] == "--config.optim.clip=1.0   (a positive number)"
    assert first["task.train_share"] == "--config.task.train_share=1.0   (a share in (0, 1])"
    assert first["mesh.fsdp"] == "--config.mesh.fsdp=-1   (at least 1, or -1 for the rest)"
    assert first["train.seed"] == "--config.train.seed=0   (zero or more)"
    assert first["task.fields.options"] == "--config.task.fields.options=options"
    assert explained["optim.lr"][1:] == ["Peak learning rate."]


def test_help_shows_the_values_of_every_field_that_has_some(explained):
    limited = {name: field_type(annotation) for name, annotation in saved.FIELDS.items()}
    limited = {name: of for name, of in limited.items() if of.words}
    assert len(limited) > 40
    for name, of in limited.items():
        assert explained[name][0].endswith(f"   ({' | '.join(of.choices) or of.words})")


def loaded(name):
    return parsing.from_flags([f"--config={name}"])


def test_shipped_configs_are_found_by_name():
    assert loaded("demo").task.name == "synthetic"
    assert loaded("demo") == loaded("demo.py") == loaded("configs/demo.py")
    assert (
        loaded("smollm2_anecdotes")
        == loaded("scruples/smollm2_anecdotes")
        == loaded("configs/scruples/smollm2_anecdotes")
    )
    assert loaded("smollm2_anecdotes").task.name == "anecdotes"
    assert loaded("mistral_7b_dilemmas:v5e-16").data.length == 2048


FILE = "from moral_jax import config\n\ndef get_config():\n    c = config.default()\n    {}\n    return c\n"


def test_a_file_of_ones_own_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert loaded("demo.py").optim.lr != 0.25
    (tmp_path / "demo.py").write_text(FILE.format("c.optim.lr = 0.25"))
    assert loaded("demo.py").optim.lr == 0.25
    assert loaded("demo").optim.lr != 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmo", r"--config=dmo: no such file, .* ships with moral_jax; did you mean --config=demo\?$"),
        ("scruples/smollm2_dilema", r"did you mean --config=scruples/smollm2_dilemmas\?$"),
        ("qqqq", "--config=qqqq: no such file, and no config of that name ships with moral_jax$"),
        ("scruples", "--config=scruples: no such file"),
        ("../demo", "no such file"),
    ],
)
def test_a_name_that_no_shipped_config_has_is_refused_with_the_nearest(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        loaded(name)


def test_a_name_that_two_shipped_configs_have_is_refused_with_both(tmp_path, monkeypatch):
    for seed, folder in enumerate(("large", "small"), 1):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text(FILE.format(f"c.train.seed = {seed}"))
    monkeypatch.setattr(parsing, "SHIPPED", tmp_path)
    with pytest.raises(UserError, match="several configs have this name; say which: large/twin, small/twin$"):
        loaded("twin")
    assert [loaded(name).train.seed for name in ("large/twin", "small/twin.py")] == [1, 2]
