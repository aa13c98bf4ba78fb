"""AI Development Support on a tiny model and replies that begin with their stage: the whole study, cell by cell."""

import json
import re

import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.report.study import page
from moral_jax.runs import origin
from moral_jax.study import collect, jobs
from moral_jax.tasks import development, synthetic
from moral_jax.types import UserError

ACTIONS = [action for action, _ in synthetic.read_actions()]
MARKS = "ABCDEF"  # of the stages 1 to 6
REWARD = """def stage(replies):
    marks = [next((m for m in r.text if m in "ABCDEF"), None) for r in replies]
    return [None if m is None else "ABCDEF".index(m) + 1 for m in marks]
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Returns a folder of scenarios, each with a reply of every stage that begins with its mark."""
    folder = tmp_path_factory.mktemp("records")
    scenarios = [{"id": f"s{i}", "situation": a, "temptation": "What now?"} for i, a in enumerate(ACTIONS[:16])]
    replies = [
        {"scenario": s["id"], "reply": f" {mark} it is", "stage": n}
        | {part: f"the {part} of {n}" for part in development.CYCLE}
        for s in scenarios
        for n, mark in enumerate(MARKS, 1)
    ]
    for name, rows in ((development.SCENARIOS, scenarios), (development.REPLIES, replies)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def rows(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("rows")
    assert main.main(["development", str(records), f"--out={out}"]) == 0
    return out


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_pairs_are_alike_in_length_and_ordered_by_stage(rows, records):
    pairs = read(rows / "pairs.jsonl")
    assert len(pairs) == 12 * 15
    for row in pairs:
        lengths = len(row["chosen"]), len(row["rejected"])
        assert max(lengths) - min(lengths) <= 0.2 * max(lengths)
        assert row["stages"][0] > row["stages"][1]
        assert MARKS.index(row["chosen"][1]) > MARKS.index(row["rejected"][1])
    assert [(r["chosen"], r["rejected"]) for r in read(rows / "pairs_swapped.jsonl")] == [
        (r["rejected"], r["chosen"]) for r in pairs
    ]


def test_pairs_of_other_lengths_are_left_out_and_counted():
    def reply(text, stage, scenario="s"):
        return development.Reply(scenario, "?", "", text, stage)

    rows, left = development.pairs(
        [reply("x" * 100, 5), reply("y" * 80, 2), reply("z" * 79, 1), reply("w" * 90, 1, "t")], 0.5
    )
    assert ([r["stages"] for r in rows], left) == ([[5, 2], [2, 1]], 1)


def test_stages_that_are_too_near_make_no_pair():
    of = [development.Reply("s", "?", "", f"reply {n}", stage) for n, stage in enumerate((3.2, 3.6, 3.75))]
    assert [r["stages"] for r in development.pairs(of, 0.5)[0]] == [[3.75, 3.2]]
    assert [r["stages"] for r in development.pairs(of, 0.3)[0]] == [[3.6, 3.2], [3.75, 3.2]]


def test_only_higher_stages_are_learned_and_scenarios_held_out(rows):
    texts, cycle, prompts = (read(rows / f"{name}.jsonl") for name in ("texts", "texts_with_cycle", "prompts"))
    assert {row["completion"][1] for row in texts} == set("DEF")
    assert all(row["completion"].startswith("Experience: the experience of") for row in cycle)
    assert [row["completion"].split()[-3] for row in cycle] == [row["completion"].split()[0] for row in texts]
    asked = {row["prompt"] for row in prompts}
    assert len(asked) == 4
    assert not asked & {row["prompt"] for row in texts}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"stage": 7}, "'stage': found 7, expected a number from 1 to 6"),
        ({"scenario": "x"}, "'scenario': found 'x', expected the id of a scenario in scenarios.jsonl"),
        ({"analysis": ""}, "'analysis': found '', expected a non-empty string"),
    ],
)
def test_bad_records_are_named(change, error, records, tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(json.dumps(read(records / development.REPLIES)[0] | change) + "\n")
    with pytest.raises(UserError, match=re.escape(f"{file}:1: field {error}")):
        development.replies(file, {of.id: of.prompt for of in development.scenarios(records / development.SCENARIOS)})


CYCLE = "sft with the cycle"  # the tiny model has no room for it
QUICK = (
    "--config.adapter.rank=8", "--config.data.length=128", "--config.data.batch_size=4",
    "--config.data.micro_batch_size=2", "--config.eval.bootstrap=100", "--config.prompt.format=plain",
    "--config.model.unroll=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(rows, tiny_folder, tmp_path_factory):
    """Runs the shipped study on a tiny model that has learned to write every mark, in this process."""
    work = tmp_path_factory.mktemp("study")
    reward = work / "marks.py"
    reward.write_text(REWARD)
    all_stages = work / "every.jsonl"
    all_stages.write_text(
        "".join(
            json.dumps({"prompt": row["prompt"], "completion": f" {mark} it is"}) + "\n"
            for row in read(rows / "prompts.jsonl")
            for mark in MARKS
        )
    )
    base = work / "base"
    learn = (
        "--config.optim.lr=1e-2",
        "--config.train.epochs=30",
        "--config.task.validation=0",
        "--config.task.test=0.2",
    )
    flags = [f"--config.model.path={tiny_folder}", f"--config.task.path={all_stages}", *QUICK, *learn]
    assert main.train_main(["--config=text/sft", *flags, f"--workdir={base}", "--config.eval.initial=false"]) in (
        0,
        None,
    )
    study = parsing.from_file(f"studies/development:{rows}", "get_study")
    settings = [f"--config.model.path=run:{base}", *QUICK]
    prepared = [
        job
        for job in jobs.prepare(study, work / "study", settings)
        if job.cell.seed == 0 and job.cell.training != CYCLE
    ]
    asked = [
        f"--config.rollout.reward={reward}:stage",
        "--config.rollout.sample.n=32",
        "--config.rollout.sample.max_tokens=4",
    ]
    learned, preferred = ["--config.optim.lr=3e-3"], ["--config.optim.lr=4e-4", "--config.train.epochs=3"]
    for job in prepared:
        more = asked if job.cell.kind == "eval" else preferred if "dpo" in job.cell.task else learned
        arguments = [*job.kind.first_arguments, *job.arguments, *more, f"--workdir={job.run}"]
        run = main.train_main if job.cell.kind == "train" else main.main
        assert run(arguments) in (0, None), job.cell.name
    return study, prepared, work


def test_expected_stages(finished):
    study, prepared, work = finished
    contrasts = [pair for pair in study.contrasts if CYCLE not in pair]
    numbers = collect.study(study.title, prepared, 1000, study.measures, contrasts)
    stage = {arm["name"]: arm["values"]["E[stage]"]["value"] for arm in numbers["arms"]["arms"]}
    assert stage["base"] < stage["sft"] < stage["sft, then dpo"]
    assert stage["sft, then dpo swapped"] < stage["sft"]
    written = page.write(work / "study", numbers)
    assert "E[stage]" in written.text
    tokens = {arm["name"]: arm["stages"] for arm in numbers["arms"]["arms"]}
    assert [s["name"] for s in tokens["sft, then dpo"]] == ["sft", "dpo"]
    assert all(t > 0 for s in tokens["sft, then dpo"] for t in s["tokens"])


def test_the_reference_of_the_second_stage_is_the_first(finished):
    _, prepared, _ = finished
    [dpo] = [job for job in prepared if job.cell.task == "dpo"]
    trained = origin.read(dpo.before.run)["trained"]
    assert (
        origin.read(dpo.run)["model"]["sha256"][f"{dpo.before.run.name}/checkpoints/{trained['step']}"]
        == trained["sha256"]
    )
    first = json.loads((dpo.run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
