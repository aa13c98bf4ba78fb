"""A damaged file of a cell costs that cell alone: it is named on the page, and run again."""

import json
import re
import shutil

import pytest

from moral_jax.report.study import page
from moral_jax.study import collect, jobs, runner, stored
from moral_jax.study.pooled_rows import make_entries
from moral_jax.types import UserError
from tests.study import conftest, fake


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two seeds of a fake model."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "base.py").write_text(conftest.BASE)
    return prepared(folder, folder / "s", fill=True)


def prepared(folder, workdir, fill=False):
    study = conftest.make_study(str(folder / "base.py"))
    made = jobs.prepare(study, workdir, [])[1:3]
    for job in made if fill else ():
        assert fake.main([*job.arguments, f"--workdir={job.run}"]) == 0
        (job.run / "run.json").write_text(json.dumps({"stages": ["trained"]}))
    return made


@pytest.fixture
def copy(finished, tmp_path):
    """A study of the same two cells, of which the first may be damaged."""
    shutil.copytree(finished[0].folder, tmp_path / "s")
    return prepared(finished[0].folder.parent, tmp_path / "s")


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


FILES = ("config.json", "run.json", "provenance.json", "trained/metrics.json", "trained/test.jsonl", "NOTES")
DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "a list": lambda data: b"[]\n",
    "an object of nothing": lambda data: b"{}\n",
    "null": lambda data: b"null\n",
    "no UTF-8": lambda data: b"\x80" + data,
    "a flip": lambda data: flipped(data, 3),
    "another flip": lambda data: flipped(data, len(data) // 3),
    "of numbers in words": lambda data: data.replace(b": 2", b': "x"').replace(b": 0.", b': "x'),
}


@pytest.mark.fault(
    "a file of a study's cell that is empty, cut, flipped, of another kind, or gone",
    promise="that cell is named on the page with what is wrong, and run again; the others are done",
)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_costs_one_cell(file, copy):
    job, other = copy
    path = job.notes if file == "NOTES" else job.run / file
    path.parent.mkdir(exist_ok=True)
    data = path.read_bytes() if path.exists() else json.dumps({"state": "done", "seconds": 20, "tail": []}).encode()
    states = set()
    for damage in (*DAMAGES.values(), None):
        path.unlink(missing_ok=True) if damage is None else path.write_bytes(damage(data))
        first, second = collect.cells(copy)
        assert second["state"] == jobs.DONE
        states.add(first["state"])
        is_done = first["state"] == jobs.DONE
        assert [s.job for s in make_entries(copy, 1000).entries[0].scored] == ([job, other] if is_done else [other])
        assert bool(first["tail"] and str(job.run) in first["tail"][0]) == (first["state"] == jobs.DAMAGED)
        assert len(runner.listing(copy).splitlines()) == 2
        assert (job.cell.name in runner.commands(copy)) != is_done
    assert states == {jobs.DONE} if file == "NOTES" else jobs.DAMAGED in states


def test_the_page_names_it(copy):
    job, _ = copy
    (job.run / "provenance.json").write_text("null")
    written = page.write(job.folder, collect.study("t", copy, 1000))
    assert "1 of 2 cells are done." in written.text
    said = (job.folder / "study.md").read_text()
    assert "damaged" in said
    assert "provenance.json: found NoneType, expected a JSON object" in said


def test_seeds_of_a_model_whose_files_changed_are_not_pooled(copy):
    for job, weights, template in ((copy[0], "aa", "bb"), (copy[1], "aa", "cc")):
        about = json.loads((job.run / "provenance.json").read_text())
        about["model"] = {"sha256": {"w": weights}, "settings_sha256": {"chat_template.jinja": template}}
        (job.run / "provenance.json").write_text(json.dumps(about))
    first, second = (job.cell.name for job in copy)
    said = f"cells {first} and {second} began with different files: chat_template.jinja. Run one of them again"
    with pytest.raises(UserError, match=re.escape(said)):
        make_entries(copy, 1000)
    del about["model"]["settings_sha256"]  # an older run does not know
    (copy[1].run / "provenance.json").write_text(json.dumps(about))
    assert len(make_entries(copy, 1000).entries[0].scored) == 2


def test_a_damaged_cell_is_run_again(copy, monkeypatch):
    job, _ = copy
    (job.stage / "metrics.json").write_text("{}")
    assert jobs.state(job) == jobs.DAMAGED
    monkeypatch.setattr(
        runner, "_start", lambda job, out, lock: Ended(fake.main([*job.arguments, f"--workdir={job.run}"]))
    )
    (job.run / "run.json").unlink()  # the fake writes none
    assert [outcome.message == "was there" for outcome in runner.run(copy)] == [False, True]
    assert jobs.state(job) == jobs.DONE


class Ended:
    """A process that has ended."""

    def __init__(self, code):
        self.code = code

    def wait(self):
        return self.code


def test_files_are_read_again_only_when_they_have_changed(copy, monkeypatch):
    job, _ = copy
    reads = []
    check, real = stored.KINDS["votes"]
    monkeypatch.setitem(stored.KINDS, "votes", (check, lambda path: reads.append(path) or real(path)))
    for _ in range(3):
        assert jobs.is_done(job)
    assert len(reads) == 1
    file = job.stage / "test.jsonl"
    file.write_bytes(file.read_bytes()[:-10])
    assert [jobs.is_done(job) for _ in range(3)] == [False] * 3
    assert len(reads) == 2
