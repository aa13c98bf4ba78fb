"""Runs of reinforcement learning: a rollout is written once, learned from exactly, and resumed inside."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig
from moral_jax.config.rollout import RolloutConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.runs import origin, rollouts
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.study import stored as study_files
from moral_jax.train import manifest
from moral_jax.types import OLD, REFERENCE, SAMPLED, StorageError, UserError
from moral_jax.workflows import build, train
from moral_jax.workflows import rollouts as source
from tests.helpers import tiny
from tests.helpers.stopped import train_until

pytestmark = pytest.mark.usefixtures("two_devices")
OBJECTS = ("wallet", "secret", "dog", "word", "change", "seat", "book", "rest", "key", "name", "old one", "other two")
REWARDS = """
def prompts_own(replies):
    return [float(reply.id) for reply in replies]

def letters(replies):
    return [reply.text.count("e") / max(len(reply.text), 1) for reply in replies]

def same(replies):
    return [0.5] * len(replies)

def nothing(replies):
    return [None] * len(replies)
"""
SHORT = EvalConfig(initial=False, test=False)
SAMPLE = SampleConfig(n=3, max_tokens=12, temperature=0.7, top_p=0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rl")
    rows = [{"id": f"{i}", "prompt": f"May I keep the {what}?"} for i, what in enumerate(OBJECTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.py").write_text(REWARDS)
    return folder


def config_of(model, folder, reward="letters", **sections):
    rollout = {"reward": f"{folder}/mine.py:{reward}", "prompts": 4, "steps": 2, "passes": 2, "sample": SAMPLE}
    defaults = {
        "task": TaskConfig(name="prompts", path=str(folder / "prompts.jsonl"), validation=0.2, test=0.25),
        "objective": ObjectiveConfig("grpo", kl_weight=0.01),
        "data": DataConfig(length=128, micro_batch_size=2),
        "optim": OptimConfig(lr=3e-3, schedule="constant"),
        "train": TrainConfig(epochs=2, eval_every=6, checkpoint_every=1),
    }
    given = RolloutConfig(**rollout | sections.pop("rollout", {}))
    return tiny.run_config(model, rollout=given, **defaults | sections)


def trace(folder, kind="train"):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_time = ("seconds", "idle", "writing_seconds", "scoring_seconds")
    return [{k: v for k, v in row.items() if k not in of_time} for row in rows if row["kind"] == kind]


@pytest.fixture(scope="module")
def whole(tiny_folder, folder, tmp_path_factory):
    """A run of several rollouts of four steps each."""
    run = tmp_path_factory.mktemp("whole") / "r"
    config = config_of(tiny_folder, folder, rollout={"kl_penalty": 0.01})
    return config, run, train.train(config, run)


def test_the_log_says_how_it_went(whole):
    config, run, _ = whole
    lines = trace(run, "rollout")
    assert [line["step"] for line in lines] == [1, 5, 9, 13][: len(lines)]
    assert len(lines) == len(trace(run)) / config.rollout.steps_each > 2
    for line in lines:
        assert 0 <= line["without_signal"] <= 1
        assert line["kept_mass"] < 0.99, "top-p leaves tokens out"
        assert line["length"] <= SAMPLE.max_tokens
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert lines[-1]["kl"] > 1e-6
    assert "reward" in trace(run, "validation")[0]


def test_the_ratio_is_one_at_first_and_moves_then(whole):
    """At any temperature and with tokens left out: old and new probabilities are of the same distribution."""
    steps = trace(whole[1])
    for first in steps[::4]:
        assert first["ratio"] == pytest.approx(1, abs=1e-5)
        assert first["sampler_gap"] < 1e-4
    assert all(abs(step["ratio"] - 1) > 1e-5 for step in steps[1:4])


def test_the_numbers_of_tokens(whole):
    """The sampler, the trainer and the reference say the same of the first rollout, at the temperature."""
    stored = rollouts.read(whole[1] / "rollouts", 0)
    assert [len(ids) for ids in stored.tokens["ids"]] == [len(x) for x in stored.tokens[OLD]]
    for other in (SAMPLED, REFERENCE):
        gap = np.concatenate(stored.tokens[other]) - np.concatenate(stored.tokens[OLD])
        assert np.abs(gap).max() < 1e-4
    drawn = np.concatenate(stored.tokens["drawn"]) - np.concatenate(stored.tokens[SAMPLED])
    assert (drawn > -1e-6).all(), "what is left of a distribution is likelier"
    assert drawn.max() > 0.05


def test_a_run_is_a_cell_of_a_study_and_says_how_many_tokens_it_wrote(whole):
    config, run, _ = whole
    trained, steps = origin.read(run)["trained"], config.rollout.steps_each
    written = [rollouts.read(run / "rollouts", n) for n in range(-(-trained["step"] // steps))]
    assert trained["tokens"] == sum(len(ids) for rollout in written for ids in rollout.tokens["ids"])
    numbers, about, records = study_files.read(run, "trained")
    assert (numbers["kind"], len(records)) == ("replies", numbers["rows"])
    assert about["trained"] == trained


def test_sampled_tokens_are_trained_as_they_are(whole, tiny_folder, monkeypatch):
    """Some are no encoding of their own text, so that decoding and encoding would train others."""
    config, run, _ = whole
    setup = build.training_setup(config)
    writes = setup.rollouts
    writes.folder = run
    stored = rollouts.read(run / "rollouts", 0)
    batches = list(writes.stream(1, 4, lambda: pytest.fail("a sealed rollout needs no weights")))
    tokenizer = setup.files.tokenizer
    encoded = [tokenizer.encode(line.text, add_special_tokens=False) for line in stored.lines]
    assert any(ids.tolist() != own for ids, own in zip(stored.tokens["ids"], encoded, strict=True))
    seen = {}
    for batch in batches:
        for b, q in zip(*np.nonzero(batch.asks.items_BQ >= 0), strict=True):
            here = batch.asks.text_of_BA[b] == q
            seen[int(batch.asks.items_BQ[b, q])] = batch.asks.target_ids_BA[b, here].tolist()
    assert seen == {n: ids.tolist() for n, ids in enumerate(stored.tokens["ids"])}


def test_a_run_that_is_stopped_goes_on_inside_a_rollout(whole, tmp_path):
    config, run, _ = whole
    train_until(config, tmp_path / "r", 6)
    (tmp_path / "r" / "rollouts" / "000002.json").unlink(missing_ok=True)  # written, and not yet sealed
    train.train(config, tmp_path / "r")
    assert_same(tmp_path / "r", run)


def test_a_rollout_that_other_weights_wrote_is_written_again(whole, tmp_path):
    config, run, _ = whole
    train_until(config, tmp_path / "r", 8)
    sealed = json.loads((run / "rollouts" / "000002.json").read_text())
    found = rollouts.read(run / "rollouts", 2)
    other = found._replace(lines=[line._replace(reward=-1.0) for line in found.lines])
    about = {name: value for name, value in sealed.items() if name != "sha256"} | {"weights": "of others"}
    rollouts.write(tmp_path / "r" / "rollouts", 2, other, about)
    train.train(config, tmp_path / "r")
    assert_same(tmp_path / "r", run)


def assert_same(got, want):
    last = manifest.steps(want / "checkpoints")[-1]
    a, b = (manifest.read(folder / "checkpoints", last) for folder in (got, want))
    assert a.checksums == b.checksums
    for kind in ("train", "validation", "rollout"):
        assert trace(got, kind) == trace(want, kind)
    for path in [*want.glob("rollouts/*.jsonl"), *want.glob("rollouts/*.npz"), *want.glob("trained/*.jsonl")]:
        assert (got / path.relative_to(want)).read_bytes() == path.read_bytes(), path


def test_what_is_missing_inside_a_rollout_is_named(whole, tmp_path):
    config, run, _ = whole
    copy = tmp_path / "r"
    shutil.copytree(run, copy)
    for step in manifest.steps(copy / "checkpoints"):
        if step > 6:
            (copy / "checkpoints" / f"{step}.json").unlink()
    text = copy / "rollouts" / "000001.jsonl"
    text.write_text(text.read_text().replace("May", "may"))
    with pytest.raises(StorageError, match=r"000001.jsonl: is not what was written there.*--resume-from=STEP"):
        train.train(config, copy)
    (copy / "rollouts" / "000001.json").unlink()
    with pytest.raises(UserError, match=r"rollout 1, inside which the run goes on, is missing.*--resume-from"):
        train.train(config, copy)
    train.train(config, copy, resume_from=4)
    assert_same(copy, run)


def test_the_page_shows_replies(whole):
    _, run, written = whole
    page = written.html.read_text()
    assert "rollout 0" in page
    assert "What was written while training" in page
    assert page.count("before fine-tuning ·") == len(read_reply_jsonl(run / "trained" / "test.jsonl"))
    records = read_reply_jsonl(run / "trained" / "test.jsonl")
    assert all(len(r["replies"]) == SAMPLE.n for r in records)
    assert f"On {len(records)} test prompts" in written.verdict


def test_a_run_is_evaluated_on_other_prompts(whole, tmp_path, capsys, monkeypatch):
    _, run, _ = whole
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps({"prompt": f"Is it {what}?"}) + "\n" for what in OBJECTS))
    asked = ["eval", f"--model=run:{run}", f"--path={more}", f"--out={tmp_path / 'e'}"]
    assert main.main(asked) == 2
    assert "its reward is a program" in capsys.readouterr().err
    monkeypatch.setenv("MORAL_JAX_TRUST_REWARDS", "1")
    assert main.main(asked) == 0
    assert "a reply is worth" in capsys.readouterr().out
    records = read_reply_jsonl(tmp_path / "e" / "answers" / "rows.jsonl")
    assert len(records) == len(OBJECTS)
    rewards = [reply["reward"] for record in records for reply in record["replies"]]
    metrics = json.loads((tmp_path / "e" / "answers" / "metrics.json").read_text())["metrics"]
    assert metrics["reward"]["value"] == pytest.approx(np.mean(rewards))
    assert metrics["reward"]["low"] < np.mean(rewards) < metrics["reward"]["high"]


def test_steps_have_few_sizes():
    sizes = [source._few_sizes(count) for count in range(1, 200)]
    assert all(count <= size <= 1.25 * count for count, size in enumerate(sizes, 1))
    assert sorted(set(sizes[:32])) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]


def one_rollout(config, folder):
    """Returns the lines and the log of a run of one step."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=1, steps=1))
    train.train(dataclasses.replace(config, eval=SHORT), folder)
    return rollouts.lines(folder / "rollouts", 0), trace(folder)[0]


def test_every_reply_gets_its_own_reward_however_rows_are_split(tiny_folder, folder, tmp_path):
    """Replies differ in length, and micro-batches in how full they are; some rows hold one reply."""
    steps, own, how = [], f"{folder}/mine.py:prompts_own", SampleConfig(n=6, max_tokens=40)
    for rows, alone in ((2, None), (4, None), (4, 1)):
        config = config_of(
            tiny_folder, folder, objective=ObjectiveConfig("gspo"),
            data=DataConfig(128, alone, batch_size=rows, micro_batch_size=rows),
            rollout={"steps": 1, "passes": 1, "reduction": "texts", "reward": f"{own} | 2*contains:e", "sample": how},
        )  # fmt: skip
        lines, step = one_rollout(config, tmp_path / f"{rows} {alone}")
        assert len(lines) == 4 * how.n
        assert {line.reason for line in lines} == {"end", "length"}
        for line in lines:
            assert f"keep the {OBJECTS[int(line.id)]}?" in line.prompt
            holds = float("e" in line.text.lower())
            assert line.rewards == {own: float(line.id), "contains:e": holds}
            assert line.reward == float(line.id) + 2 * holds
        assert step["ratio"] == pytest.approx(1, abs=1e-5)
        steps.append(step)
    for key in ("loss", "grad_norm", "entropy", "sampler_gap"):
        for other in steps[1:]:
            assert steps[0][key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key
    assert steps[0]["grad_norm"] > 1e-3


def test_equal_rewards_teach_nothing(tiny_folder, folder, tmp_path):
    config = config_of(
        tiny_folder, folder, reward="same", objective=ObjectiveConfig("grpo"),
        optim=OptimConfig(lr=1e-2, weight_decay=0.0), eval=SHORT,
        train=TrainConfig(epochs=1, steps=3, checkpoint_every=1),
    )  # fmt: skip
    train.train(config, tmp_path / "r")
    assert all(step["grad_norm"] == 0 for step in trace(tmp_path / "r"))
    assert all(line["without_signal"] == 1 for line in trace(tmp_path / "r", "rollout"))
    steps = [
        manifest.read(tmp_path / "r" / "checkpoints", s).checksums
        for s in manifest.steps(tmp_path / "r" / "checkpoints")
    ]
    weights = [{k: v for k, v in sums.items() if k.startswith("params")} for sums in steps]
    assert all(w == weights[0] for w in weights)


def test_ppo_with_adapters_learns_and_writes(tiny_folder, folder, tmp_path, capsys):
    """The reference is the model without its adapters; the critic is trained beside them, and left out of writing."""
    config = config_of(
        tiny_folder, folder, objective=ObjectiveConfig("ppo"), adapter=AdapterConfig(kind="lora", rank=4), eval=SHORT,
        rollout={"kl_penalty": 0.05, "sample": dataclasses.replace(SAMPLE, n=1)}, train=TrainConfig(epochs=1),
    )  # fmt: skip
    train.train(config, tmp_path / "r")
    steps, first = trace(tmp_path / "r"), trace(tmp_path / "r", "rollout")[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert steps[-1]["value_loss"] != steps[0]["value_loss"]
    assert all(np.isfinite(step["loss"]) for step in steps)
    (tmp_path / "p.jsonl").write_text('{"prompt": "May I?"}\n')
    capsys.readouterr()
    assert (
        main.main(["generate", f"--run={tmp_path / 'r'}", str(tmp_path / "p.jsonl"), "--max-tokens=4", "--json"]) == 0
    )
    assert len(json.loads(capsys.readouterr().out)["tokens"]) <= 4


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_reward_rises(tiny_folder, folder, tmp_path, kind):
    """The share of one letter, from about one in twenty."""
    sample = SampleConfig(n=8 if kind == "grpo" else 4, max_tokens=16)
    often = {"steps": 1, "passes": 1} if kind == "grpo" else {}
    config = config_of(
        tiny_folder, folder, objective=ObjectiveConfig(kind, kl_weight=0.001), rollout=often | {"sample": sample},
        optim=OptimConfig(lr=1e-2 if kind == "grpo" else 2e-2, schedule="constant", weight_decay=0.0), eval=SHORT,
        train=TrainConfig(epochs=40, steps=40 if kind == "grpo" else 200, eval_every=1000),
    )  # fmt: skip
    train.train(config, tmp_path / "r")
    lines = trace(tmp_path / "r", "rollout")
    assert lines[0]["reward"] < 0.1
    assert lines[-1]["reward"] >= 0.8
    assert lines[-1]["kl"] > 0.1


def test_a_large_weight_of_kl_holds_the_model(tiny_folder, folder, tmp_path):
    """With a weight of 1e-6 the divergence is above 0.01 by then."""
    config = config_of(
        tiny_folder, folder, objective=ObjectiveConfig("grpo", kl_weight=1000.0), rollout={"steps": 1, "passes": 1},
        optim=OptimConfig(lr=3e-4, schedule="constant", weight_decay=0.0), eval=SHORT,
        train=TrainConfig(epochs=10, steps=18, eval_every=1000),
    )  # fmt: skip
    train.train(config, tmp_path / "r")
    assert trace(tmp_path / "r", "rollout")[-1]["kl"] < 0.01


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"rollout": {"sample": SampleConfig(n=2)}}, "sample.n=2: expected at least 3: two replies differ by 1.41"),
        ({"rollout": {"sample": SampleConfig(n=1)}}, r"rollout.sample.n=1: expected at least 2 replies to compare"),
        ({"rollout": {"sample": SampleConfig(n=4, temperature=0.0)}}, "temperature=0.0: expected more than 0"),
        ({"rollout": {"trace": 0.5}}, "config.rollout.trace=0.5: expected 0.95"),
        ({"objective": ObjectiveConfig("ppo"), "rollout": {"scale": "none"}}, "rollout.scale='none': expected 'group'"),
        ({"rollout": {"reward": ""}}, "config.rollout.reward: is empty"),
        ({"rollout": {"baseline": "none"}}, "rollout.baseline='none': expected a baseline, or set .*scale='none'"),
        ({"rollout": {"prompts": 8}}, "rollout.prompts=8: there are 7 training prompts"),
        ({"objective": ObjectiveConfig("cispo", clip=0.1)}, "clip=0.1: expected 0.2, because cispo does not read it"),
        ({"objective": ObjectiveConfig("dpo")}, "'dpo': is not for task 'prompts'"),
        ({"objective": ObjectiveConfig("grpo", value_clip=0.1)}, "grpo does not read it"),
        ({"data": DataConfig(length=20)}, r"its prompt has \d+ tokens, so that prompt and reply together have"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused(tiny_folder, folder, sections, match):
    with pytest.raises(UserError, match=match):
        build.training_setup(config_of(tiny_folder, folder, **sections))


def test_rows_that_are_too_long_can_be_left_out(tiny_folder, folder, tmp_path, capsys):
    rows = [{"id": f"{i}", "prompt": "Why? " * n} for i, n in enumerate([1, 2, 3, 4, 90, 5, 6, 7])]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = TaskConfig(name="prompts", path=str(tmp_path / "p.jsonl"), validation=0, test=0, on_bad_row="drop")
    setup = build.training_setup(config_of(tiny_folder, folder, task=task, data=DataConfig(length=64)))
    assert len(setup.data.train) == 7
    assert "left out: 1 of 8 train rows" in capsys.readouterr().out


def test_a_reward_that_says_nothing_stops_the_run(tiny_folder, folder, tmp_path):
    config = config_of(tiny_folder, folder, reward="nothing", eval=SHORT)
    with pytest.raises(UserError, match=r"says nothing \(None\) of any of the first 12 replies"):
        train.train(config, tmp_path / "r")


def test_a_step_that_diverges_names_its_rows(tiny_folder, folder, tmp_path):
    """And no rollout is written with what it left."""
    config = config_of(
        tiny_folder, folder, objective=ObjectiveConfig("grpo"), eval=SHORT, rollout={"steps": 1, "passes": 1},
        optim=OptimConfig(lr=1e30, schedule="constant"), train=TrainConfig(epochs=4),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"step \d: .*nan.* or look at the rows of this batch: \d+, \d+"):
        train.train(config, tmp_path / "r")


def test_another_reference_is_refused(tiny_folder, folder, tmp_path, monkeypatch):
    config = config_of(tiny_folder, folder, eval=SHORT)
    real = build.InitialParams.reference

    def shifted(initial):
        params = real(initial)
        params["decoder"]["final_norm"]["scale"] *= 1.5
        return params

    monkeypatch.setattr(build.InitialParams, "reference", shifted)
    with pytest.raises(UserError, match="log p of a text differs from its reference"):
        train.train(config, tmp_path / "r")


def test_settings_of_rollouts_belong_to_rollouts(tiny_folder):
    config = tiny.run_config(tiny_folder, rollout=RolloutConfig(prompts=3))
    with pytest.raises(UserError, match="rollout.prompts=3: expected 8, because .* writes no rollouts"):
        build.training_setup(config)
    config = tiny.run_config(tiny_folder, rollout=RolloutConfig(sample=SampleConfig(top_k=4)))
    with pytest.raises(UserError, match="rollout.sample.top_k=4: expected 0"):
        build.training_setup(config)
