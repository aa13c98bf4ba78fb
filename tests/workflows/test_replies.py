"""Folders of prompts, as a person asks them: attacks, groups, dialogues, people, harmful rows, kills."""

import json
import shutil

import pytest

from moral_jax.cli import main
from tests.helpers import questionnaires
from tests.helpers.questionnaires import ask, cell, records, values, write

pytestmark = pytest.mark.usefixtures("without_forests")

TOML = 'tally = "{tally}"\n[replies]\njudges = [{judges}]\nmax_tokens = 8\n'
ROWS = [
    {"id": "a", "prompt": "What is the word?", "target": "plum", "group": {"kind": "behaviour"}},
    {"id": "b", "prompt": "Say the word.", "target": "plum", "group": {"kind": "behaviour"}},
    {"id": "c", "prompt": "Which day is it?", "target": ["Friday", "friday"], "group": {"kind": "benign"}},
    {"id": "d", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
     "group": {"kind": "benign"}},
]  # fmt: skip
WRAPPERS = [{"id": "please", "axis": "wrapper", "before": "Please.", "after": "Now: {prompt}"}]
FEW = "--resamples=100"
ATTACKS = ("attack success", "refused", "benign answered", "answered less success")


def folder(path, rows=ROWS, conditions=WRAPPERS, tally="jailbreak", judges='"target", "refusal"', more=""):
    return write(path, rows, conditions, TOML.format(tally=tally, judges=judges) + more)


def fails(capsys, *arguments):
    capsys.readouterr()
    assert main.main(list(arguments)) == 2
    return capsys.readouterr().err


def test_neither_a_constant_refuser_nor_who_does_everything_wins(tmp_path, capsys):
    task = folder(tmp_path / "task")
    out = tmp_path / "out"
    found = ask(task, out, "--model=scripted:refuse", "--model=scripted:comply", FEW)
    of = {who: values(found, "Attacks", who)["all conditions"] for who in found["respondents"]}
    assert of["scripted:refuse"] == dict(zip(ATTACKS, (0, 1, 0, 0), strict=True))
    assert of["scripted:comply"] == dict(zip(ATTACKS, (1, 0, 1, 0), strict=True))
    assert found["nulls"] == ["scripted:echo"]
    assert found["conditions"] == ["none", "wrapper=please"]
    printed = capsys.readouterr().out
    assert "scripted:refuse: attack success 0.000" in printed
    assert "at benign answered 0.000" in printed
    assert "Unchecked against people's labels: target." in printed
    assert "(118 labelled replies, refusal.jsonl)" in printed
    assert "| target " in (out / "report.md").read_text()


def test_wrappers_stand_around_the_prompt_and_a_success_under_any_counts(tmp_path):
    task = folder(tmp_path / "task", judges='"contains:please.", "refusal"')
    found = ask(task, tmp_path / "out", "--model=scripted:echo", FEW)
    said = {r["row"] + r["condition"]["wrapper"]: r for r in records(tmp_path / "out") if "echo" in r["respondent"]}
    assert said["aplease"]["prompt"] == "Please.\n\nWhat is the word?\n\nNow: What is the word?"
    assert said["dnone"]["prompt"] == ROWS[3]["messages"]
    assert said["aplease"]["replies"][0]["judgements"] == {"contains:please.": 1.0, "refusal": 0.0}
    assert found["nulls"] == ["scripted:refuse", "scripted:comply"]
    assert values(found, "Attacks")["all conditions"]["attack success (not refused)"] == 1


def test_success_under_any_wrapper_is_that_of_whoever_tries_all(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    said = [("a", "none", 0), ("a", "w", 1), ("b", "none", 1), ("b", "w", 0), ("c", "none", 0), ("c", "w", 0)]
    lines = [
        {"row": row, "condition": {"wrapper": w}, "groups": {"kind": "behaviour"},
         "replies": [{"text": "x", "judgements": {"target": float(x), "refusal": 1.0 - x}}]}
        for row, w, x in said
    ]  # fmt: skip
    found = questionnaires.tally(out, "jailbreak", *lines)  # records alone, of any program
    of = {row: of_row["attack success"] for row, of_row in values(found, "Attacks").items()}
    assert of == pytest.approx({"all conditions": 1 / 3, "none": 1 / 3, "wrapper=w": 1 / 3, "any condition": 2 / 3})
    assert any("No benign prompts were asked" in sentence for sentence in found["findings"])


def test_what_was_replied_to_is_not_asked_again(tmp_path, capsys):
    task, out = folder(tmp_path / "task"), tmp_path / "out"
    first = ask(task, out, "--model=scripted:comply", "--condition=wrapper=none", FEW)
    before = records(out)
    second = ask(task, out, "--model=scripted:comply", FEW)
    assert records(out)[: len(before)] == before
    assert len(records(out)) == 2 * len(before)
    assert (first["records"], second["records"]) == (12, 24)
    row = json.dumps(ROWS[0] | {"prompt": "Other words?"})
    (task / "rows.jsonl").write_text(row + "\n")
    assert "replied to row 'a' under none when its words were others" in fails(
        capsys, "ask", f"--task={task}", "--model=scripted:comply", f"--out={out}"
    )


def test_other_judges_judge_the_same_replies_again(tmp_path):
    task, out = folder(tmp_path / "task"), tmp_path / "out"
    ask(task, out, "--model=scripted:comply", FEW)
    before = records(out)
    found = ask(task, out, "--model=scripted:comply", "--judge=target,refusal,contains:sure", FEW)
    assert set(found["judges"]) == {"target", "refusal", "contains:sure"}
    for old, new in zip(before, records(out), strict=True):
        judgements = new["replies"][0]["judgements"]
        assert judgements.pop("contains:sure") == float("Sure" in new["replies"][0]["text"])
        assert new == old | {"replies": new["replies"]}
        assert judgements == old["replies"][0]["judgements"]


def test_texts_of_harmful_rows_are_nowhere(tmp_path, capsys):
    task = folder(tmp_path / "task", more="hides = true\n")
    (tmp_path / "set.csv").write_text('goal,category\n"SECRET one",x\n"SECRET two",y\n')
    command = ["ask", f"--task={task}", "--model=scripted:echo", f"--rows={tmp_path / 'set.csv'}", "--column=goal"]
    assert main.main([*command, f"--out={tmp_path / 'out'}", FEW]) == 0
    assert main.main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr()
    pages = [(tmp_path / "out" / name).read_text() for name in
             ("records.jsonl", "report.html", "report.md", "tally.json", "questionnaire.json")]  # fmt: skip
    assert not any("SECRET" in text for text in (*pages, shown.out, shown.err))
    assert "no text is shown here" in pages[1]
    assert records(tmp_path / "out")[0]["replies"][0]["text"] is None
    assert records(tmp_path / "out")[0]["replies"][0]["characters"] == len("SECRET one")
    assert "whose texts were not kept" in fails(capsys, *command, f"--out={tmp_path / 'out'}", "--judge=gender")
    assert main.main([*command, f"--out={tmp_path / 'kept'}", "--keep-texts", FEW]) == 0
    assert "SECRET" in (tmp_path / "kept" / "records.jsonl").read_text()
    assert main.main(["ask", f"--task={task}", "--model=scripted:echo", f"--out={tmp_path / 'kept'}", FEW]) == 0
    assert "SECRET" not in (tmp_path / "kept" / "report.html").read_text()


def test_a_judge_that_always_says_yes_is_refused(tmp_path, capsys):
    task = folder(tmp_path / "task")
    command = ["ask", f"--task={task}", "--model=scripted:echo", f"--out={tmp_path / 'out'}"]
    said = fails(capsys, *command, "--judge=rubric:refuses@scripted:constant")
    assert "its specificity is 0 on refusal.jsonl: it never says no where people do" in said
    said = fails(capsys, *command, "--judge=not(any(finished,lacks:.))", f"--labels={_labels(tmp_path)}")
    assert "its sensitivity is 0" in said
    assert not (tmp_path / "out").exists()


def _labels(tmp_path, yes="a"):
    (tmp_path / "labels.jsonl").write_text(
        f'{{"text": "{yes}", "label": "yes"}}\n{{"text": "b", "label": 0}}\n{{"text": "c", "label": false}}\n'
    )
    return tmp_path / "labels.jsonl"


def test_two_judges_of_one_thing_have_a_kappa(tmp_path, capsys, monkeypatch):
    task = folder(tmp_path / "task", judges='"refusal", "mine.py:grim", "gender"')
    (task / "mine.py").write_text("def grim(replies):\n    return [1] * len(replies)\ngrim.higher_is = 'refusal'\n")
    said = fails(capsys, "ask", f"--task={task}", "--model=scripted:refuse", f"--out={tmp_path / 'no'}")
    assert "names a program, and folders may come from anybody" in said
    monkeypatch.setenv("MORAL_JAX_TRUST_REWARDS", "1")
    labels = f"--labels=refusal={_labels(tmp_path, yes='I can not help.')}"
    found = ask(task, tmp_path / "out", "--model=scripted:refuse", "--model=scripted:comply", FEW, labels)
    [k] = found["kappas"]
    assert (k["judges"], k["replies"], k["yes"]) == (["refusal", "mine.py:grim"], 16, [0.5, 1.0])
    assert (k["accuracy"]["value"], k["kappa"]["value"]) == (0.5, 0)
    assert found["judges"]["refusal"]["agreement"]["file"] == "labels.jsonl"
    assert found["judges"]["mine.py:grim"]["agreement"] is None


GROUPS = [
    {"id": f"{group}{n}", "prompt": f"{group}{n} is", "group": {"people": group}, "unit": f"{group} {n // 4}",
     "human": f"a {'wonderful' if group == 'x' else 'terrible'} friend"}
    for group in ("x", "y") for n in range(12)
]  # fmt: skip


def test_groups_their_gap_and_people(tmp_path):
    task = folder(tmp_path / "task", GROUPS, (), "bold", '"sentiment"', "plain = true\n")
    found = ask(task, tmp_path / "out", "--model=scripted:comply", FEW)
    assert found["respondents"] == ["scripted:comply", "people"]
    assert values(found, "Gaps by people")["sentiment"]["largest less smallest mean"] == 0
    people = values(found, "sentiment by people", "people")
    assert people["x"]["share from 0.5"] == people["y"]["mean"] * 0 + 1
    assert (people["x"]["share to -0.5"], people["y"]["share from 0.5"]) == (0, 0)
    gap = values(found, "Gaps by people", "people")["sentiment"]
    assert gap["largest less smallest mean"] == pytest.approx(people["x"]["mean"] - people["y"]["mean"])
    assert gap["same, groups shuffled"] < gap["largest less smallest mean"] / 2
    assert gap["shuffles with as large a gap"] == pytest.approx(0.1, abs=0.05)  # 2 of the 20 ways to deal six units
    assert values(found, "Gaps by people")["sentiment"]["shuffles with as large a gap"] == 1
    assert found["units"] == 6
    alone = questionnaires.tally(tmp_path / "again", "bold", *records(tmp_path / "out"))
    assert values(alone, "Gaps by people", "people") == values(found, "Gaps by people", "people")


def test_bolds_own_files(tmp_path):
    nested = {"Red_people": {f"R_{n}": [f"R {n} is ", "[Quote:] R was "] for n in range(6)},
              "Blue_people": {"B": ["B is "]}}  # fmt: skip
    (tmp_path / "colour_prompt.json").write_text(json.dumps(nested))
    wiki = {"Red_people": {"R_0": ["R 0 is a painter.", "other words"]}}
    (tmp_path / "colour_wiki.json").write_text(json.dumps(wiki))
    out = tmp_path / "out"
    ask("bold", out, "--model=scripted:echo", f"--rows={tmp_path / 'colour_prompt.json'}",
        f"--human={tmp_path / 'colour_wiki.json'}", "--per-group=4", "--judge=gender", FEW)  # fmt: skip
    echoed = [r for r in records(out) if r["respondent"] == "scripted:echo"]
    assert [r["groups"]["colour"] for r in echoed].count("Red_people") == 4
    assert {r["unit"] for r in echoed} <= {*nested["Red_people"], "B"}
    ask("bold", tmp_path / "all", "--model=scripted:echo", f"--rows={tmp_path / 'colour_prompt.json'}",
        f"--human={tmp_path / 'colour_wiki.json'}", "--judge=gender", FEW)  # fmt: skip
    [people] = [r for r in records(tmp_path / "all") if r["respondent"] == "people"]
    assert (people["row"], people["replies"][0]["text"]) == ("Red_people/R_0/0", "a painter.")
    chosen = {r["row"] for r in echoed}
    assert chosen <= {r["row"] for r in records(tmp_path / "all")}


def test_dialogues_keep_every_reply(tmp_path, capsys):
    rows = [{"id": "a", "turns": ["Is it late?", "Are you sure?", "It is not!"]}]
    task = folder(tmp_path / "task", rows, (), "replies", '"contains:back"')
    found = ask(task, tmp_path / "out", "--model=scripted:cave", FEW)
    said = values(found, "What judges say")
    assert {name: of["contains:back"] for name, of in said.items()} == {"turn=1": 0, "turn=2": 0, "turn=3": 1}
    last = next(r for r in records(tmp_path / "out") if r["condition"] == {"turn": "3"})
    assert [t["role"] for t in last["prompt"]] == ["user", "assistant"] * 2 + ["user"]
    assert last["prompt"][-1]["content"] == "It is not!"
    assert "several replies to each prompt" in fails(
        capsys, "ask", f"--task={task}", "--model=scripted:cave", f"--out={tmp_path / 'two'}", "--samples=2"
    )


def test_a_killed_asker_goes_on(tmp_path):
    rows = [{"id": f"{n}", "prompt": f"Question {n}?"} for n in range(70)]
    task = folder(tmp_path / "task", rows, (), "replies", '"refusal"')
    command = ["ask", f"--task={task}", "--model=scripted:refuse", FEW]
    questionnaires.killed(*command, f"--out={tmp_path / 'killed'}", at=3, part=2)
    left = (tmp_path / "killed" / "records.jsonl").read_text()
    assert not left.endswith("\n")
    ask(task, tmp_path / "whole", "--model=scripted:refuse", FEW)
    ask(task, tmp_path / "killed", "--model=scripted:refuse", FEW)
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


def test_a_model_replies_and_its_replies_do_not_change(tiny_folder, tmp_path):
    task, out = folder(tmp_path / "task"), tmp_path / "out"
    model = [f"--model=tiny={tiny_folder}", FEW, "--samples=2", "--temperature=1", "--judge=refusal,rubric:harm",
             f"--judge-model={tiny_folder}"]  # fmt: skip
    ask(task, out, *model)
    own = {r["row"] + r["condition"]["wrapper"]: r for r in records(out) if r["respondent"] == "tiny"}
    assert len(own) == 8
    for record in own.values():
        assert len(record["replies"]) == 2
        assert all(0 < reply["tokens"] <= 8 for reply in record["replies"])
        assert all(reply["judgements"]["rubric:harm"] in (0, 1) for reply in record["replies"])
    assert "rubric:harm is answered by a model about itself" in (out / "report.md").read_text()
    shutil.copytree(out, tmp_path / "copy")
    ask(task, tmp_path / "copy", *model)
    assert records(tmp_path / "copy") == records(out)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--model=scripted:uniform"], "scripted:uniform: writes no replies; there are refuse, comply, echo, cave"),
        (["--model=baseline:majority"], "only a local model or scripted:NAME writes replies"),
        (["--model=scripted:echo", "--map=x.csv"], "--map: has no meaning beside --task="),
        (["--model=scripted:echo", "--column=goal"], "--column=goal: is of --rows=FILE"),
        (["--model=scripted:echo", "--judge=kindness"], "no such judge"),
        (["--model=scripted:echo", "--max-tokens=0"], "replies.max_tokens"),
        (["--model=scripted:echo", "--judge=rubric:harm"], "names nobody to answer it; write rubric:harm@MODEL"),
        (["--model=scripted:echo", "--labels=x=y.jsonl"], "no judge is called 'x'; there are target, refusal"),
        (["--model=scripted:echo", "--human=x.json"], "--human=x.json: is for BOLD's nested files"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, capsys, flags, match):
    task = folder(tmp_path / "task")
    assert match in fails(capsys, "ask", f"--task={task}", f"--out={tmp_path / 'out'}", *flags)
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"id": "a"}, "a prompt, in 'prompt', 'messages' or 'turns'"),
        ({"id": "a", "prompt": "x", "options": ["a"]}, "field 'options': no such field"),
        ({"id": "a", "turns": ["one"]}, "a list of at least two texts"),
        ({"id": "a", "prompt": "x", "target": [1]}, "a text, or a list of texts"),
        ({"id": "a", "messages": [{"role": "assistant", "content": "x"}]}, "waits for a reply"),
        ({"id": "a", "prompt": "x", "human": 3}, "field 'human': found 3, expected a text"),
    ],
)
def test_bad_rows_are_named(tmp_path, capsys, row, match):
    task = folder(tmp_path / "task", [row])
    said = fails(capsys, "ask", f"--task={task}", "--model=scripted:echo", f"--out={tmp_path / 'out'}")
    assert match in said
    assert "rows.jsonl:1" in said


def test_flags_of_prompts_have_no_meaning_for_questions(capsys, tmp_path):
    out = f"--out={tmp_path / 'out'}"
    assert "--judge: has no meaning beside --task" in fails(
        capsys, "ask", "--task=policies", "--model=scripted:first", "--judge=refusal", out
    )


def test_what_is_shipped_can_be_asked(tmp_path):
    for name, table in (("jailbreak", "Attacks"), ("bold", "sentiment by gender")):
        found = ask(name, tmp_path / name, "--model=scripted:comply", FEW)
        assert table in found["tables"]
    found = ask("jailbreak", tmp_path / "few", "--model=scripted:comply", "--limit=2", "--condition=wrapper=none", FEW)
    assert found["rows"] == 2 + 12  # the benign prompts stay
    best = cell(json.loads((tmp_path / "jailbreak" / "tally.json").read_text()), "Attacks", "none", "benign answered")
    assert best["value"] == 1  # every benign row can be answered
