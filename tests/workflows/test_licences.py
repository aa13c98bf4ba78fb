"""`moral-jax licences` from outside: who forbids publishing, who is only named, and a person's word."""

import json
from pathlib import Path

import pytest

from moral_jax.cli import main
from moral_jax.report.words import Table, markdown
from moral_jax.tasks import known
from tests.helpers.documents import as_trained, declare, edit, evaluate, trained, write_rows

ROOT = Path(__file__).resolve().parents[2]


def licences(run, *flags) -> int:
    return main.main(["licences", str(run), *flags])


def test_golden_of_obligations(tmp_path, capsys):
    run = trained(tmp_path, "mit", licence="MIT AND CC-BY-SA-4.0")
    assert licences(run, "--publish") == 0
    said = json.loads((run / "licences.json").read_text())
    assert said["obligations"] == {"attribution": ["Panel votes"], "share-alike": ["Panel votes"]}
    assert "May be published" in capsys.readouterr().out


def test_golden_of_an_unknown_key(tmp_path, capsys):
    run = trained(tmp_path, licence="Apache 2")
    assert licences(run) == 2
    file = tmp_path / "rows" / "data.toml"
    assert f"{file}: licence: Unknown license key(s): Apache 2" in capsys.readouterr().err


def test_non_commercial_rows_in_train_are_refused_and_in_test_named(tmp_path, capsys):
    run = trained(tmp_path / "train", licence="CC-BY-NC-SA-4.0")
    assert licences(run, "--publish") == 2
    out = capsys.readouterr()
    assert "Panel votes (train): CC-BY-NC-SA-4.0 is non-commercial" in out.err
    assert "CC-BY-NC-SA-4.0" in out.out  # the list is printed either way

    file = write_rows(tmp_path / "test" / "rows")
    declare(tmp_path / "test" / "rows", licence="CC-BY-NC-SA-4.0", use="test")
    run = as_trained(evaluate(file, tmp_path / "test" / "run", "--config.task.test_only=true"))
    assert licences(run, "--publish") == 0
    out = capsys.readouterr().out
    assert "| Panel votes | test " in out
    assert "CC-BY-NC-SA-4.0" in out
    assert json.loads((run / "licences.json").read_text())["obligations"] == {}


@pytest.mark.parametrize(
    ("model", "rows", "names"),
    [
        ("cc-by-nc-4.0", "MIT", ["made/up"]),
        (None, "MIT", ["made/up"]),
        ("mit", "NOASSERTION", ["Panel votes"]),
        ("mit", "LicenseRef-research-only", ["Panel votes"]),
        ("cc-by-nd-4.0", "NONE", ["made/up", "Panel votes"]),
    ],
)
def test_each_that_forbids_is_accepted_by_its_name(tmp_path, capsys, model, rows, names):
    run = trained(tmp_path, model, licence=rows)
    for i in range(len(names)):
        assert licences(run, "--publish", *(f"--accept={name}" for name in names[:i])) == 2
        assert all(name in capsys.readouterr().err for name in names[i : i + 1])
    assert licences(run, "--publish", *(f"--accept={name}" for name in names)) == 0
    assert licences(run, "--publish") == 0  # a person's word is kept
    assert "A person has accepted by name" in capsys.readouterr().out


def test_a_word_holds_for_the_licence_that_it_was_given_for(tmp_path):
    run = trained(tmp_path, licence="NOASSERTION")
    assert licences(run, "--publish", "--accept=Panel votes") == 0
    edit(run / "provenance.json", lambda p: p["data"]["sets"][0].update(licence="CC-BY-NC-4.0"))
    assert licences(run, "--publish") == 2


def test_what_is_refused(tmp_path, capsys):
    run = trained(tmp_path)
    assert licences(run, "--publish", "--accept=somebody") == 2
    assert "--accept=somebody: forbids nothing here; nothing forbids publishing" in capsys.readouterr().err
    assert licences(run, "--accept=somebody") == 2
    assert "pass --publish too" in capsys.readouterr().err
    assert licences(run, "--base-licence=Apache 2") == 2
    assert "--base-licence=Apache 2: Unknown license key(s): Apache 2" in capsys.readouterr().err
    assert main.main(["licences", "--publish"]) == 2
    assert "--publish: is not read, as no run is named" in capsys.readouterr().err


def test_a_run_that_trained_nothing_has_nothing_to_publish(tmp_path, capsys):
    run = evaluate(write_rows(tmp_path), tmp_path / "run")
    assert licences(run) == 0
    assert "No weights lie here" in capsys.readouterr().out
    assert licences(run, "--publish") == 2


def test_what_a_reward_model_was_made_of_counts(tmp_path):
    reward, run = trained(tmp_path / "a", licence="CC-BY-NC-4.0"), trained(tmp_path / "b")
    edit(run / "config.json", lambda c: c["rollout"].update(reward=f"finished | 0.5*run:{reward}"))
    assert licences(run, "--publish") == 2
    names = [one["name"] for one in json.loads((run / "licences.json").read_text())["used"]]
    assert f"{reward}: Panel votes" in names
    assert licences(run, "--publish", f"--accept={reward}: Panel votes") == 0


def test_a_mixture_names_its_sources_and_who_only_tests(tmp_path):
    """Sources that are left out of training are test rows, whatever their file declares."""
    from moral_jax.config.task import FieldsConfig, SourceConfig, TaskConfig
    from moral_jax.tasks.load import load

    for name in ("one", "two"):
        write_rows(tmp_path / name)
        declare(tmp_path / name, name=f"Set {name}")
    sources = tuple(
        SourceConfig(name, task=TaskConfig(name="votes", path=str(tmp_path / name / "votes.jsonl"),
                                           fields=FieldsConfig())) for name in ("one", "two")
    )  # fmt: skip
    data = load(TaskConfig(name="mixture", sources=sources, train_on="one"))
    assert [(s["name"], s["splits"]) for s in data.provenance["sets"]] == [
        ("one: Set one", ["train", "validation", "test"]), ("two: Set two", ["test"]),
    ]  # fmt: skip


def test_a_run_of_an_older_version_is_unknown(tmp_path, capsys):
    run = trained(tmp_path)
    edit(run / "provenance.json", lambda p: (p["data"].pop("sets"), p["data"].update(licence="the file's own")))
    assert licences(run, "--publish") == 2
    assert "votes (train): NOASSERTION is unknown" in capsys.readouterr().err
    assert licences(run, "--publish", f"--data={tmp_path / 'rows' / 'data.toml'}") == 0  # declared afterwards


def test_what_is_declared_for_tests_may_not_have_been_trained_on(tmp_path, capsys):
    run = trained(tmp_path)
    file = declare(tmp_path, use="test")
    assert licences(run, f"--data={file}") == 2
    assert f"{file}: use: found 'test', but the run was trained on Panel votes" in capsys.readouterr().err


def test_the_table_of_known_sets_is_that_of_the_docs(capsys):
    assert main.main(["licences"]) == 0
    table = markdown(Table(known.HEADER, known.rows()))
    assert capsys.readouterr().out.strip() == table
    assert table in (ROOT / "docs" / "data.md").read_text()
