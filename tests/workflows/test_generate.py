"""`moral-jax generate`, as a person types it."""

import io
import json
import sys

import numpy as np
import pytest

from moral_jax.cli import main


def turns(*said):
    """A conversation in which user and assistant take turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


PROMPTS = [
    {"id": "a", "prompt": "May I keep the wallet?"},
    {"id": "b", "messages": [{"role": "system", "content": "Be brief."}, *turns("Is lying wrong?")]},
    {"id": "c", "messages": turns("Hello", "Yes?", "Is it late?")},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return write(tmp_path_factory.mktemp("rows") / "prompts.jsonl", PROMPTS)


def said(capsys, *arguments):
    capsys.readouterr()
    code = main.main(["generate", *arguments])
    return code, capsys.readouterr()


def rows_of(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def model(tiny_folder):
    return [f"--model={tiny_folder}", "--config.model.product_dtype=float32", "--max-tokens=24"]


def test_a_file_of_prompts(model, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    code, shown = said(capsys, *model, prompts, "--n=2", "--seed=3", f"--out={out}")
    assert (code, shown.out) == (0, "")
    rows = rows_of((out / "replies.jsonl").read_text())
    assert [(r["id"], r["sample"]) for r in rows] == [(p["id"], n) for p in PROMPTS for n in (0, 1)]
    assert rows[0]["prompt"] == "<|user|>May I keep the wallet?<|end|><|assistant|>"
    assert rows[2]["prompt"].startswith("<|system|>Be brief.")
    for row in rows:
        assert len(row["tokens"]) == len(row["logp"]) == len(row["sampled_logp"]) <= 24
        assert row["reason"] in ("end", "length")
    assert any(rows[0]["tokens"] != r["tokens"] for r in rows[1:2])
    code, shown = said(capsys, *model, prompts, f"--out={out}")
    assert code == 2
    assert "exists already" in shown.err
    again = said(capsys, *model, prompts, "--n=2", "--seed=3", "--json")[1].out
    assert rows_of(again) == rows


def test_other_orders_of_the_rows_give_the_same_replies(model, prompts, tmp_path, capsys):
    turned = write(tmp_path / "turned.jsonl", [*PROMPTS[::-1], PROMPTS[0] | {"id": "again"}])
    found = rows_of(said(capsys, *model, turned, "--json", "--slots=4")[1].out)
    want = {r["id"]: r["tokens"] for r in rows_of(said(capsys, *model, prompts, "--json", "--slots=4")[1].out)}
    assert {r["id"]: r["tokens"] for r in found[:3]} == want
    assert found[3]["tokens"] != found[2]["tokens"], "the same row again is another sample"


def test_one_prompt_from_standard_input_and_a_stop_text(model, monkeypatch, capsys):
    def ask(*more):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"May I keep it?\n")))
        return said(capsys, *model, "--temperature=0", *more)[1].out.removesuffix("\n")

    whole = ask()
    assert len(whole) > 4
    stop = whole[3:5]
    assert ask(f"--stop={stop}") == whole[: whole.index(stop)]


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([{"prompt": "A"}], ["--max-tokens=5000"], "line 1: its prompt has"),
        ([{"prompt": "A"}, {"question": "B"}], [], "prompts.jsonl:2: field 'prompt'"),
        ([{"messages": turns("A", "B")}], [], "waits for a reply"),
        ([{"prompt": "A"}], ["--stop="], "an empty text ends every reply"),
        ([{"prompt": "A"}], ["--config.model.head=score"], "only a decoder with a vocabulary writes texts"),
    ],
)  # fmt: skip
def test_mistakes(model, tmp_path, capsys, rows, flags, message):
    code, shown = said(capsys, *model, write(tmp_path / "prompts.jsonl", rows), *flags)
    assert code == 2
    assert message in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--temperature=-1", "--temperature=-1.0: expected zero or more"),
        ("--n=0", "--n=0: expected at least 1"),
        ("--top-p=2", "--top-p=2.0: expected a share"),
    ],
)
def test_flags_out_of_range(model, prompts, flag, message, capsys):
    code, shown = said(capsys, *model, prompts, flag)
    assert code == 2
    assert message in shown.err


def test_training_on_prompts_is_refused(tiny_folder, prompts, capsys, tmp_path):
    flags = ["--config=text/sft", f"--config.model.path={tiny_folder}", "--config.task.name=prompts"]
    assert main.main(["train", *flags, f"--config.task.path={prompts}", f"--workdir={tmp_path / 'r'}"]) == 2
    assert "is not for task 'prompts'" in capsys.readouterr().err


def test_numbers_of_prompts():
    from moral_jax.respondents.sampling import _numbers

    rows = [[1, 2], [1, 2], [1, 2], [1, 3]]
    found = list(_numbers(rows))
    assert len(set(found)) == 4
    assert list(_numbers(rows[::-1])) == [found[3], *found[:3]]
    assert np.all(np.array(found) < 2**32)
