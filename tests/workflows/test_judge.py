"""`moral-jax judge`, as a person types it."""

import json

import pytest

from moral_jax.cli import main

pytestmark = pytest.mark.usefixtures("without_forests")

ROWS = [
    {"id": "a", "prompt": "May I?", "text": "Sure, here it is.", "tokens": [1, 2]},
    {"id": "b", "prompt": "Tell me.", "reply": "I'm sorry, but I can't help with that.", "reason": "length"},
    {"id": "c", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I won't."}]},
    {"id": "d", "prompt": [{"role": "user", "content": "Hm?"}], "replies": [{"text": "Yes."}, {"text": "I can't."}]},
]


@pytest.fixture
def replies(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def run(capsys, *arguments):
    capsys.readouterr()
    code = main.main(["judge", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_replies_of_all_forms_are_judged(replies, tmp_path, capsys):
    out = tmp_path / "out"
    code, shown, _ = run(capsys, replies, "--judge=refusal,finished", f"--out={out}", "--resamples=50")
    assert code == 0
    assert "specificity" in shown
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    said = {r["id"]: [(y["judgements"]["refusal"], y["judgements"]["finished"]) for y in r["replies"]] for r in records}
    assert said == {"a": [(0, None)], "b": [(1, 0)], "c": [(1, None)], "d": [(0, None), (1, None)]}
    tally = json.loads((out / "tally.json").read_text())
    cells = tally["tables"]["What judges say"]["cells"]["replies.jsonl"]["none"]
    assert cells["refusal"]["value"] == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    assert main.main(["tally", str(out), "--resamples=50"]) == 0
    assert json.loads((out / "tally.json").read_text()) == tally
    assert run(capsys, replies, "--judge=refusal", f"--out={out}")[0] == 2


def test_the_same_judge_is_a_filter(replies, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(capsys, replies, "--judge=refusal", "--keep=refusal<0.5", f"--out={out}", "--resamples=50")[0] == 0
    kept = [json.loads(line) for line in (out / "kept.jsonl").read_text().splitlines()]
    assert kept == [ROWS[0], ROWS[3] | {"replies": [{"text": "Yes."}]}]
    code, _, said = run(capsys, replies, "--judge=refusal", "--keep=kind>1", f"--out={tmp_path / 'two'}")
    assert (code, "expected JUDGE>=NUMBER" in said) == (2, True)


def test_texts_of_harmful_replies_are_not_shown(replies, tmp_path, capsys):
    out = tmp_path / "out"
    code, shown, _ = run(capsys, replies, "--judge=refusal", "--harmful", f"--out={out}", "--resamples=50")
    pages = "".join((out / name).read_text() for name in ("records.jsonl", "report.html", "report.md", "tally.json"))
    assert code == 0
    assert not any(text in pages + shown for text in ("here it is", "help with that", "Tell me"))
    assert json.loads((out / "records.jsonl").read_text().splitlines()[1])["replies"][0]["judgements"]["refusal"] == 1


def test_agreement_stands_beside_the_name(tmp_path, capsys):
    labels = tmp_path / "mine.jsonl"
    labels.write_text('{"text": "a.", "label": "yes"}\n{"text": "b.", "label": "no"}\n')
    code, shown, _ = run(capsys, "--judge=contains:a,contains:.,gender", f"--labels=contains:a={labels}",
                         f"--labels=contains:.={labels}")  # fmt: skip
    assert code == 0
    of = "(2 labelled replies, mine.jsonl)"
    assert shown.splitlines() == [
        f"contains:a: accuracy 1.000, sensitivity 1.000, specificity 1.000, kappa 1.000 {of}",
        f"contains:.: accuracy 0.500, sensitivity 1.000, specificity 0.000, kappa 0.000 {of}",
        "gender: unchecked",
    ]


def test_a_blind_judge_judges_nothing(replies, tmp_path, capsys):
    labels = tmp_path / "mine.jsonl"
    labels.write_text('{"text": "a.", "label": "yes"}\n{"text": "b.", "label": "no"}\n')
    code, _, said = run(capsys, replies, "--judge=contains:.", f"--labels={labels}", f"--out={tmp_path / 'out'}")
    assert (code, "its specificity is 0 on mine.jsonl" in said) == (2, True)
    assert not (tmp_path / "out").exists()


def test_ratings_are_compared_as_ratings(tmp_path, capsys):
    labels = tmp_path / "mine.jsonl"
    labels.write_text("".join(json.dumps({"text": "x" * n, "label": n}) + "\n" for n in range(1, 11)))
    code, shown, _ = run(capsys, "--judge=characters:10", f"--labels={labels}")
    assert code == 0
    assert "correlation 1.000" in shown
    assert "alpha -" in shown  # another scale


def test_a_rubric_asks_whoever_is_named(replies, capsys):
    _, shown, _ = run(capsys, replies, "--judge=rubric:quality@scripted:constant,rubric:quality@scripted:last",
                      "--resamples=50")  # fmt: skip
    row = next(line for line in shown.splitlines() if line.startswith("| none"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["1.000", "3.000"]  # the last one, in two orders
    assert "Judges of one thing" in shown


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["{replies}"], "nobody is named to judge"),
        (["{replies}", "--judge=refusal", "--keep=refusal<1"], "needs --out=DIR"),
        (["--judge=refusal", "--out=x"], "--out: needs REPLIES"),
        (["nowhere.jsonl", "--judge=refusal"], "nowhere.jsonl"),
        (["{replies}", "--judge=refusal", "--colour=red"], "unknown argument"),
    ],
)
def test_what_is_refused(replies, capsys, arguments, match):
    code, _, said = run(capsys, *(a.format(replies=replies) for a in arguments))
    assert code == 2
    assert match in said


def test_a_row_without_a_reply_is_named(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n')
    code, _, said = run(capsys, str(path), "--judge=refusal")
    assert (code, "r.jsonl:1" in said, "expected a reply" in said) == (2, True, True)
