"""Tests SIGTERM and SIGKILL while replies are written: the same command goes on, and the replies are the same."""

import json
import signal

import pytest

from moral_jax.runtime import supervisor
from tests.faults.conftest import Runs

PROMPTS, SAMPLES = 9, 2
FLAGS = ["--max-tokens=24", f"--n={SAMPLES}", "--slots=4", "--seed=5", "--config.model.product_dtype=float32"]


@pytest.fixture(scope="module")
def writing(tmp_path_factory):
    """Returns what writes replies into a folder, disturbed or not."""
    folder = tmp_path_factory.mktemp("generate")
    prompts = folder / "prompts.jsonl"
    different = [n % (PROMPTS - 1) for n in range(PROMPTS)]  # the last is the first again, and another sample
    prompts.write_text("".join(json.dumps({"prompt": f"Why {n}?" * (1 + n % 3)}) + "\n" for n in different))
    runs = Runs(folder)

    def write(out, plan=None, flags=FLAGS):
        command = ["generate", str(prompts), f"--model={folder / 'model'}", *flags, f"--out={out}"]
        return runs.command(command, plan).finish()

    return write


def lines_of(out):
    content = (out / "replies.jsonl").read_bytes() if (out / "replies.jsonl").exists() else b""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


@pytest.fixture(scope="module")
def whole(writing, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    code, _, err = writing(out)
    assert code == 0, err
    return lines_of(out)


def tokens_of(lines):
    return [(line["row"], line["sample"], line["tokens"], line["text"], line["reason"]) for line in lines]


@pytest.mark.fault(
    "SIGKILL at 4 moments of moral-jax generate, a cut last line, SIGTERM while tokens are written",
    promise="the same command goes on with what lacks replies; each is there once, token by token the same",
)
def test_a_killed_command_goes_on(writing, whole, tmp_path):
    out, written = tmp_path / "out", [0]
    for moment in ({"at": "tokens", "count": 1}, {"at": "replies", "count": 3}, {"at": "replies", "count": 2}):
        code, _, err = writing(out, moment | {"do": "kill"})
        assert code == -signal.SIGKILL, err
        written.append(len(lines_of(out)))
    assert written[1] < written[2] < written[3] < PROMPTS * SAMPLES
    with (out / "replies.jsonl").open("a") as f:  # one reply of two to a row, and a half
        new = next(line for line in whole if line["row"] not in {of["row"] for of in lines_of(out)})
        f.write(json.dumps(new) + "\n" + json.dumps(new)[:50])
    code, out_, err = writing(out, {"at": "tokens", "count": 2, "do": "term"})
    assert code == supervisor.ENDED, err
    assert "the same command goes on" in out_ + err
    code, _, err = writing(out, {"at": "all replies", "count": 1, "do": "kill"})
    assert code == -signal.SIGKILL, err
    code, _, err = writing(out)
    assert code == 0, err
    assert f"{PROMPTS} of {PROMPTS} prompts have their replies" in err + out_
    assert tokens_of(lines_of(out)) == tokens_of(whole)
    assert whole[0]["prompt"] == whole[-1]["prompt"]
    assert whole[0]["tokens"] != whole[-SAMPLES]["tokens"]
    assert [(line["row"], line["sample"]) for line in whole] == [(r, s) for r in range(PROMPTS) for s in range(SAMPLES)]
