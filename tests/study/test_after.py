"""Cells that come after another: order, waiting, shards, and what happens when the one before was trained again."""

import dataclasses
import shutil

import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.runs import origin
from moral_jax.study import collect, jobs, runner
from moral_jax.study.spec import Cell, Measure, Study
from moral_jax.study.stages import Stage, cells
from moral_jax.types import UserError
from tests.study.conftest import QUICK


@pytest.fixture
def fake_stages(monkeypatch):
    monkeypatch.setitem(jobs.KINDS, "train", jobs.Kind(("python", "train.py"), "tests.study.fake_stages:main", ()))


@pytest.fixture
def chains(config_file):
    """Returns cells of two seeds: first, second after it, third after that; the last come first in the list."""
    out = []
    for seed in (0, 1):
        flags = (*QUICK, f"--config.train.seed={seed}", "--config.task.limit=20")
        first = Cell("M", "rows", "first", config_file, flags, seed=seed)
        second = Cell("M", "rows", "second", config_file, flags, seed=seed, after=first)
        third = Cell("M", "rows", "third", config_file, flags, seed=seed, after=second)
        out += [third, second, first]
    return tuple(out)


@pytest.fixture
def prepared(chains, tmp_path):
    return jobs.prepare(Study("t", chains, resamples=1000), tmp_path / "study", [])


def states(prepared):
    return [jobs.state(job) for job in prepared]


def test_a_cell_runs_after_the_one_it_begins_with(prepared, fake_stages):
    assert [j.cell.training for j in prepared] == ["first", "second", "third"] * 2
    assert states(prepared)[:3] == ["to do", "waiting", "waiting"]
    first, second, _ = prepared[:3]
    assert second.config.model.run == first.run
    assert f"--config.model.path=run:{first.run}" in runner.shell_command(second)
    outcomes = runner.run(prepared[:3])
    assert [o.state for o in outcomes] == ["done"] * 3
    assert states(prepared) == ["done", "done", "done", "to do", "waiting", "waiting"]


def test_a_model_on_the_command_line_is_where_the_first_stages_begin(chains, tmp_path):
    first, second, _ = jobs.prepare(Study("t", chains), tmp_path / "s", ["--config.model.path=ANOTHER"])[:3]
    assert first.config.model.path == "ANOTHER"
    assert second.config.model.run == first.run


def test_a_cell_waits_for_one_that_fails_and_says_so(prepared, fake_stages, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text(prepared[1].run.name)
    monkeypatch.setenv("FAKE_BROKEN", str(broken))
    outcomes = runner.run(prepared)
    assert [o.state for o in outcomes] == ["done", "failed", "waiting", "done", "done", "done"]
    assert f"waiting: {prepared[2].cell.name}, for {prepared[1].cell.name}, which is failed" in runner.summary(outcomes)
    page = collect.cells(prepared)
    assert page[2]["tail"] == [f"for {prepared[1].cell.name}, which is failed"]
    broken.unlink()
    assert [o.state for o in runner.run(prepared)] == ["done"] * 6


def test_what_was_trained_again_makes_all_that_follow_stale(prepared, fake_stages, tmp_path, monkeypatch):
    chain = prepared[:3]
    runner.run(chain)
    salt = tmp_path / "salt"
    salt.write_text("another machine")
    monkeypatch.setenv("FAKE_SALT", str(salt))
    shutil.rmtree(chain[0].run)
    assert [o.state for o in runner.run(chain)] == ["done", "stale", "stale"]
    assert states(chain) == ["done", "stale", "stale"]
    assert "was trained again" in collect.cells(chain)[1]["tail"][0]
    numbers = collect.study("t", chain, 1000)["tasks"][0]
    assert [bool(e["seeds"]) for e in numbers["entries"]] == [True, False, False]
    for job in chain[1:]:
        shutil.rmtree(job.run)
    assert [o.state for o in runner.run(chain)] == ["done"] * 3


def test_the_same_training_again_makes_nothing_stale(prepared, fake_stages):
    chain = prepared[:3]
    runner.run(chain)
    shutil.rmtree(chain[0].run)
    assert [o.state for o in runner.run(chain)] == ["done"] * 3


def test_no_shard_waits_for_another(prepared):
    parts = [jobs.shard(prepared, i, 3) for i in (1, 2, 3)]
    assert sorted(j.cell.name for part in parts for j in part) == sorted(j.cell.name for j in prepared)
    for part in parts:
        names = {j.cell.name for j in part}
        assert all(j.before is None or j.before.cell.name in names for j in part)
    assert [len(part) for part in parts] == [3, 3, 0]


def test_a_study_that_was_copied_from_elsewhere_is_found(prepared, fake_stages, chains, tmp_path):
    runner.run(prepared[:3])
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    copied = jobs.prepare(Study("t", chains), tmp_path / "copy", [])
    assert states(copied)[:3] == ["done"] * 3


def test_a_cell_after_one_that_is_not_there(chains):
    with pytest.raises(UserError, match="comes after .*, which is no cell of the study"):
        Study("t", chains[:2])


STAGES = {name: Stage(name, "text/sft", (f"--config.optim.lr={lr}",)) for name, lr in (("a", 1e-3), ("b", 1e-4))}


def test_arms_share_the_runs_that_they_begin_with():
    arms = {"none": (), "a": (STAGES["a"],), "a, b": (STAGES["a"], STAGES["b"]), "b, a": (STAGES["b"], STAGES["a"])}
    made = cells("M", arms, [Stage("asked", "text/sft")], (0, 1))
    trained, measured = ([c for c in made if c.kind == kind] for kind in ("train", "eval"))
    assert len(trained) == 2 * 4  # a, a then b, b, b then a
    assert len(measured) == 1 + 2 * 3
    by_arm = {(c.training, c.seed): c for c in measured}
    assert by_arm["none", 0].after is None
    assert (
        by_arm["a, b", 1].after.after is by_arm["a", 1].after or by_arm["a, b", 1].after.after == by_arm["a", 1].after
    )
    assert by_arm["a, b", 1].after.seed == 1


def test_measures_and_contrasts_name_what_there_is(chains):
    study = Study("t", chains)
    with pytest.raises(UserError, match="'fourth' is no arm; there are first, second, third"):
        dataclasses.replace(study, contrasts=(("first", "fourth"),))
    with pytest.raises(UserError, match="no cell has task 'replies'"):
        dataclasses.replace(study, measures=(Measure("x", "replies", "reward"),))


@pytest.mark.parametrize("alignment", ["sft", "dpo", "grpo"])
def test_the_ready_study_builds(alignment, tmp_path):
    study = parsing.from_file(f"studies/why_first:{alignment}", "get_study")
    prepared = jobs.prepare(study, tmp_path, [])
    assert sum(j.cell.kind == "train" for j in prepared) == 3 * 10
    assert {j.cell.training for j in prepared if j.cell.task == "pairs"} >= {"base", "explain, then align"}
    adapters = {j.config.adapter for j in prepared}
    assert len(adapters) == 1  # so that stages train the same ones further


TINY = (
    "--config.adapter.rank=4", "--config.data.length=512", "--config.eval.bootstrap=100",
    "--config.task.limit=12", "--config.train.steps=1", "--config.eval.test=false",
)  # fmt: skip


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize(("alignment", "reward"), [("dpo", ()), ("grpo", ("--config.rollout.reward=contains:e",))])
def test_alignment_by_preferences_and_by_rewards_begins_with_the_documents(alignment, reward, tiny_folder, tmp_path):
    """A whole arm, of a tiny model: documents, alignment from these weights, and what the arm is measured on."""
    arm = "explain, then align"
    study = parsing.from_file(f"studies/why_first:{alignment}", "get_study")
    prepared = jobs.prepare(study, tmp_path, [f"--config.model.path={tiny_folder}", *TINY])
    chosen = [j for j in prepared if j.cell.seed == 0 and j.cell.training in ("explain", arm)]
    assert [j.cell.task for j in chosen] == ["explain", "align", "pairs", "replies"]
    for job in chosen:
        more = ["--config.eval.test=true"] if job.cell.kind == "eval" else []
        if job.config.task.name == "prompts":
            more += ["--config.rollout.prompts=2", "--config.rollout.sample.max_tokens=4"]
        if job.cell.task == "align" and reward:
            more += ["--config.rollout.sample.n=3", *reward]
        arguments = [*job.kind.first_arguments, *job.arguments, *more, f"--workdir={job.run}"]
        run = main.train_main if job.cell.kind == "train" else main.main
        assert run(arguments) in (0, None), job.cell.name
    explain, align = chosen[:2]
    trained = origin.read(explain.run)["trained"]
    name = f"{explain.run.name}/checkpoints/{trained['step']}"
    assert origin.read(align.run)["model"]["sha256"][name] == trained["sha256"]
    [found] = collect.study(study.title, chosen, 100, study.measures)["arms"]["arms"]
    assert 0 <= found["values"]["conflict preference"]["value"] <= 1
    assert found["values"]["over-refusal"]["value"] == 0
    assert [(s["name"], all(t > 0 for t in s["tokens"])) for s in found["stages"]] == [
        ("explain", True),
        ("align", True),
    ]
