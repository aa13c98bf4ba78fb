"""What a run began with: it goes on with the same files and prompts alone, and says when the machine is another."""

import json

import pytest

from moral_jax.runs import origin
from moral_jax.types import UserError

MACHINE = {
    "versions": {"jax": "1"},
    "arithmetic": {"product_dtype": "bfloat16"},
    "device": {"kind": "cpu"},
}


def provenance(data, weights=None, settings=None, prompts=None, **machine):
    model = {"path": "m"}
    model |= {} if weights is None else {"sha256": weights}
    model |= {} if settings is None else {"settings_sha256": settings}
    asked = {} if prompts is None else {"prompts_sha256": prompts}
    return {"data": {"sha256": data}, "model": model} | asked | machine


FIRST = provenance({"rows": "aa"}, {"w": "bb"}, {"config.json": "cc"}, {"test": "dd"}, **MACHINE)


def stored(folder):
    return json.loads((folder / "provenance.json").read_text())


def test_what_a_run_comes_from_is_written_once(tmp_path, capsys):
    origin.record(tmp_path, FIRST)
    assert stored(tmp_path) == FIRST
    origin.record(tmp_path, FIRST)
    assert stored(tmp_path) == FIRST | {"resumed": []}
    assert capsys.readouterr().out == ""


def test_another_machine_is_said_and_both_are_kept(tmp_path, capsys):
    origin.record(tmp_path, FIRST)
    second = FIRST | {"versions": {"jax": "2"}, "device": {"kind": "TPU v5"}}
    for _ in range(2):
        origin.record(tmp_path, second)
    assert stored(tmp_path) == FIRST | {"resumed": [{part: second[part] for part in MACHINE}]}
    said = f"{tmp_path}: goes on with another jax (1 -> 2); device kind (cpu -> TPU v5); provenance.json keeps both\n"
    assert capsys.readouterr().out == said


def test_what_is_learnt_of_the_respondent_later_is_kept(tmp_path):
    origin.record(tmp_path, FIRST)
    later = FIRST | {"model": FIRST["model"] | {"answered as": ["m-2"]}}
    origin.record(tmp_path, later)
    assert stored(tmp_path)["model"] == later["model"]


@pytest.mark.parametrize(
    ("now", "name", "hashes"),
    [
        (FIRST | {"data": {"sha256": {"rows": "xx"}}}, "rows", ("aa", "xx")),
        (FIRST | {"data": {"sha256": {"rows": "aa", "more": "xx"}}}, "more", ("none, as it was not there", "xx")),
        (FIRST | {"model": FIRST["model"] | {"sha256": {"w": "xx"}}}, "w", ("bb", "xx")),
        (FIRST | {"model": {"path": "m"}}, "w", ("bb", "none, as it is not there")),
        (FIRST | {"model": FIRST["model"] | {"settings_sha256": {"config.json": "xx"}}}, "config.json", ("cc", "xx")),
        (
            FIRST | {"model": FIRST["model"] | {"settings_sha256": {"config.json": "cc", "chat_template.jinja": "xx"}}},
            "chat_template.jinja",
            ("none, as it was not there", "xx"),
        ),
        (FIRST | {"prompts_sha256": {"test": "xx"}}, "the prompts of test", ("dd", "xx")),
    ],
)
def test_what_has_changed_is_refused_with_both_hashes(tmp_path, now, name, hashes):
    origin.record(tmp_path, FIRST)
    said = f"^{name}: no longer what {tmp_path} began with: the SHA-256 was {hashes[0]}, and is {hashes[1]} now"
    with pytest.raises(UserError, match=f"{said}. Put back what it was, or pass --workdir=ANOTHER to begin anew"):
        origin.record(tmp_path, now)
    assert stored(tmp_path) == FIRST


def test_other_prompts_from_the_same_files_name_the_versions_that_made_them(tmp_path):
    origin.record(tmp_path, FIRST)
    with pytest.raises(UserError, match=r"xx now \(since then: jax \(1 -> 2\)\)"):
        origin.record(tmp_path, FIRST | {"prompts_sha256": {"test": "xx"}, "versions": {"jax": "2"}})


def test_only_what_is_asked_for_is_compared(tmp_path):
    origin.record(tmp_path, FIRST)
    now = provenance({}, {"w": "xx"}, {"config.json": "cc"})
    origin.check(tmp_path, now, ("model.settings_sha256",))
    with pytest.raises(UserError, match="^w: .*, or train again to begin anew"):
        origin.check(tmp_path, now, ("model.settings_sha256", "model.sha256"), remedy="train again")


def test_a_run_of_an_older_version_is_compared_by_what_it_recorded(tmp_path):
    origin.record(tmp_path, provenance({"rows": "aa"}, {"w": "bb"}))
    origin.record(tmp_path, FIRST)
    assert stored(tmp_path)["prompts_sha256"] == {"test": "dd"}


def test_nothing_is_compared_where_nothing_was_recorded(tmp_path):
    assert origin.read(tmp_path) == {}
    origin.check(tmp_path, FIRST)


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "{}", '{"data": "x"}', '{"data": {"sha256": {}}}', '{"data": {"sha256": []}, "model": {}}',
        '{"data": {"sha256": {}}, "model": {"settings_sha256": "x"}}',
        '{"data": {"sha256": {}}, "model": {}, "device": 1}', '{"data": {"sha256": {}}, "model": {}, "resumed": 1}',
        '{"data": {"sha256": {}}, "model": {}, "resumed": [1]}',
    ],
)  # fmt: skip
def test_a_provenance_that_no_run_wrote_is_named(tmp_path, content):
    (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(UserError, match="provenance.json: is not what a run writes .*; remove it to go on"):
        origin.record(tmp_path, provenance({}))
    assert (tmp_path / "provenance.json").read_text() == content
