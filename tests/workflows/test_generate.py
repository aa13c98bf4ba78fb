"""`moral-jax generate`, as a person types it."""

import io
import json
import shutil
import sys
from pathlib import Path

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
    before = (out / "replies.jsonl").read_bytes()
    code, shown = said(capsys, *model, prompts, "--n=2", "--seed=3", f"--out={out}")
    assert code == 0
    assert "3 of 3 prompts have their replies" in shown.err
    assert (out / "replies.jsonl").read_bytes() == before
    again = said(capsys, *model, prompts, "--n=2", "--seed=3", "--json")[1].out
    assert rows_of(again) == rows


@pytest.fixture(scope="module")
def begun(model, prompts, tmp_path_factory):
    """Returns a folder with all replies."""
    out = tmp_path_factory.mktemp("begun") / "out"
    assert main.main(["generate", *model, prompts, f"--out={out}"]) == 0
    return out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature=0.5"], "written with sampling.temperature=1.0, not 0.5; pass --out=ANOTHER"),
        (["--n=2"], "sampling.n=1, not 2"),
        (["--slots=2"], "sampling.slots=None, not 2"),
        (["--stop=x"], "stop=[], not ['x']"),
        (["--config.prompt.system=Be brief."], "prompt.system="),
        (["--config.model.product_dtype=bfloat16"], "arithmetic.product_dtype=float32, not bfloat16"),
    ],
)
def test_replies_written_otherwise_stay(model, prompts, begun, capsys, flags, message):
    before = (begun / "replies.jsonl").read_bytes()
    code, shown = said(capsys, *model, prompts, f"--out={begun}", *flags)
    assert code == 2
    assert message in shown.err
    assert (begun / "replies.jsonl").read_bytes() == before


def test_other_prompts_and_folders_are_refused(model, prompts, begun, tmp_path, capsys):
    changed = Path(prompts)
    content = changed.read_bytes()
    try:
        changed.write_bytes(content.replace(b"Hello", b"Hallo"))
        code, shown = said(capsys, *model, prompts, f"--out={begun}")
    finally:
        changed.write_bytes(content)
    assert code == 2
    assert f"prompts.jsonl: no longer what {begun} began with" in shown.err
    assert "pass --out=ANOTHER" in shown.err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    code, shown = said(capsys, *model, prompts, f"--out={tmp_path / 'other'}")
    assert code == 2
    assert "exists already" in shown.err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["a.txt"]


def test_replies_that_are_none_or_come_twice(model, prompts, begun, capsys):
    path = begun / "replies.jsonl"
    content = path.read_bytes()
    first = content.split(b"\n")[0] + b"\n"
    for added, message in ((first, ":4: reply 0 to row 0 is there already"), (b'{"row": "x"}\n', ":4: field 'row'")):
        try:
            path.write_bytes(content + added)
            code, shown = said(capsys, *model, prompts, f"--out={begun}")
        finally:
            path.write_bytes(content)
        assert code == 2
        assert message in shown.err


def test_a_refused_command_leaves_nothing(model, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    assert said(capsys, *model, prompts, f"--out={out}", "--max-tokens=5000")[0] == 2
    assert not out.exists()
    code, shown = said(capsys, *model, prompts, f"--out={out}", "--json")
    assert code == 2
    assert "--json: is not read" in shown.err


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


def test_what_a_folder_says_of_sampling_is_not_read(tiny_folder, prompts, tmp_path, capsys):
    """generation_config.json has cut and sharpened replies where nobody asked for it."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    how = {"temperature": 0.01, "top_k": 1, "max_new_tokens": 3, "eos_token_id": list(range(97)), "do_sample": False}
    flags = ["--config.model.product_dtype=float32", "--max-tokens=24", "--json"]
    want = rows_of(said(capsys, f"--model={folder}", prompts, *flags)[1].out)
    (folder / "generation_config.json").write_text(json.dumps(how))
    assert rows_of(said(capsys, f"--model={folder}", prompts, *flags)[1].out) == want
    assert max(len(row["tokens"]) for row in want) > 3


def test_numbers_of_prompts():
    from moral_jax.respondents.sampling import _numbers

    rows = [[1, 2], [1, 2], [1, 2], [1, 3]]
    found = list(_numbers(rows))
    assert len(set(found)) == 4
    assert list(_numbers(rows[::-1])) == [found[3], *found[:3]]
    assert np.all(np.array(found) < 2**32)
