"""Folders of questionnaires: every mistake is one error with file, line, field and remedy; and how rows are crossed."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.tasks import kaleido
from moral_jax.tasks.elicitation import outcomes
from moral_jax.tasks.questionnaire import conditions, folder, questions
from moral_jax.types import UserError
from moral_jax.workflows import graph, questionnaire, replies
from tests.helpers import questionnaires as q

ROW = {
    "id": "r1",
    "text": "A post.",
    "question": "Was it wrong?",
    "options": ["yes", "no"],
    "variables": {"who": "Ann"},
}
OTHER = ROW | {"id": "r2", "gold": "no", "tags": [["lie"], []], "group": {"kind": "post"}, "counts": [3, 1]}
POLICY = {"id": "strict", "axis": "policy", "before": "Never lie to {who}.", "gold": {"r1": "yes", "r2": None}}
MAP = "tag,theory\nlie,Honesty\n"
WITH_MAP = '[map]\nfile = "map.csv"\n'


def examples(task, **chosen):
    return [e for part in questionnaire.read(str(task), chosen).parts for e in part.examples]


def test_rows_are_crossed_with_conditions(tmp_path):
    task = q.write(tmp_path / "t", [ROW, OTHER], [POLICY], f'title = "T"\n{WITH_MAP}', map_csv=MAP)
    plain, other, strict, undecided = examples(task)
    assert [e.id for e in (plain, strict)] == ["r1", "r1 policy=strict"]
    assert (plain.text, strict.text) == ("A post.", "Never lie to Ann.\n\nA post.")
    assert [e.notes["gold"] for e in (plain, other, strict, undecided)] == [None, 1, 0, None]
    assert (other.groups, other.counts, other.notes["labels"]) == (
        {"kind": "post"}, (3, 1), {"theory": [["Honesty"], []]})  # fmt: skip
    assert "counts" not in other.notes
    assert plain.notes["counts"] is None  # nobody voted
    assert strict.notes["asked"] != plain.notes["asked"]


def test_axes_are_multiplied_and_chosen(tmp_path):
    persona = [{"id": name, "axis": "persona", "messages": [{"role": "system", "content": f"You are {name}."}],
                "traits": {"name": name}} for name in ("ann", "bo")]  # fmt: skip
    mood = {
        "id": "calm",
        "axis": "mood",
        "messages": [{"role": "system", "content": "You are calm."}],
        "after": "Think.",
    }
    task = q.write(tmp_path / "t", [ROW], [*persona, mood], "[axes.persona]\nnone = false\n")
    assert [e.notes["condition"] for e in examples(task)] == [
        {"persona": p, "mood": m} for p in ("ann", "bo") for m in ("none", "calm")
    ]
    [both] = examples(task, persona=["bo"], mood=["calm"])
    assert both.messages == ({"role": "system", "content": "You are bo.\n\nYou are calm."},)
    assert (both.text, both.notes["traits"]) == ("A post.\n\nThink.", {"persona": {"name": "bo"}})
    usual = q.write(tmp_path / "u", [ROW], [*persona, mood], '[axes.persona]\nasked = ["bo"]\n')
    assert [e.notes["condition"]["persona"] for e in examples(usual)] == ["bo", "bo"]


def test_a_wording_is_another_question_and_other_words_for_the_options(tmp_path):
    words = {"id": "w", "axis": "wording", "question": "{question} Rather {option 1}?", "options": ["Yes", "No"]}
    task = q.write(tmp_path / "t", [OTHER], [words])
    _, asked = examples(task)
    assert (asked.question, asked.options, asked.notes["gold"]) == ("Was it wrong? Rather yes?", ("Yes", "No"), 1)


def test_an_empty_condition_is_none(tmp_path):
    task = q.write(tmp_path / "t", [ROW], [{"id": "empty", "axis": "policy"}])
    plain, empty = examples(task)
    assert plain._replace(id="", notes={}) == empty._replace(id="", notes={})
    assert plain.notes["asked"] == empty.notes["asked"]


def test_a_file_that_anybody_adds_is_taken_up(tmp_path):
    task = q.write(tmp_path / "t", [ROW])
    (task / "rows-of-ann.jsonl").write_text(json.dumps(OTHER))
    assert [e.id for e in examples(task)] == ["r2", "r1"]
    (task / "rows-of-bo.jsonl").write_text(json.dumps(OTHER | {"options": ["yes"]}))
    assert fails(task) == "rows-of-bo.jsonl:1: field 'options'"


def fails(task):
    """Returns the place that the error names."""
    with pytest.raises(UserError) as raised:
        questionnaire.read(str(task), {})
    said = str(raised.value)
    return ": ".join(said.replace(f"{task}/", "").split(": ")[:2])


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"quesiton": "?"}, "rows.jsonl:2: field 'quesiton'"),
        ({"gold": "maybe"}, "rows.jsonl:2: field 'gold'"),
        ({"options": []}, "rows.jsonl:2: field 'options'"),
        ({"options": None}, "rows.jsonl:2: field 'options'"),
        ({"options": ["yes", "yes"]}, "rows.jsonl:2: field 'options'"),
        ({"tags": [["lie"]]}, "rows.jsonl:2: field 'tags'"),
        ({"tags": [["lie"], [3]]}, "rows.jsonl:2: field 'tags'"),
        ({"tags": [["theft"], []]}, "rows.jsonl:2: field 'tags'"),  # without a label
        ({"reverse": "yes"}, "rows.jsonl:2: field 'reverse'"),
        ({"counts": [1, -1]}, "rows.jsonl:2: field 'counts'"),
        ({"group": {"kind": 3}}, "rows.jsonl:2: field 'group'"),
        ({"variables": "Ann"}, "rows.jsonl:2: field 'variables'"),
        ({"id": "r1"}, "rows.jsonl:2: the id 'r1' appears in"),
        ({"question": "", "text": ""}, "rows.jsonl:2: field 'text'"),
    ],
)
def test_a_mistake_in_a_row(row, place, tmp_path):
    task = q.write(tmp_path / "t", [ROW, OTHER | row], toml=WITH_MAP, map_csv=MAP)
    assert fails(task).startswith(place)


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ({"befor": "x"}, "conditions.jsonl:2: field 'befor'"),
        ({"id": "strict"}, "conditions.jsonl:2: condition policy=strict stands in"),
        ({"id": "none"}, "conditions.jsonl:2: field 'id'"),
        ({"id": "a,b"}, "conditions.jsonl:2: field 'id'"),
        ({"axis": ""}, "conditions.jsonl:2: field 'axis'"),
        ({"gold": "maybe"}, "conditions.jsonl:2: field 'gold'"),
        ({"gold": {"r1": "yes"}}, "conditions.jsonl:2: field 'gold'"),  # says nothing of r2
        ({"gold": 3}, "conditions.jsonl:2: field 'gold'"),
        ({"before": "Never lie to {whom}."}, "conditions.jsonl:2: {whom}"),
        ({"options": ["Yes"]}, "conditions.jsonl:2: field 'options'"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "conditions.jsonl:2: field 'messages'"),
        ({"traits": {"level": 1}}, "conditions.jsonl:2: field 'traits'"),
    ],
)
def test_a_mistake_in_a_condition(condition, place, tmp_path):
    both = [POLICY, {"id": "other", "axis": "policy", "before": "x"} | condition]
    assert fails(q.write(tmp_path / "t", [ROW, OTHER], both)).startswith(place)


@pytest.mark.parametrize(
    ("toml", "place"),
    [
        ("titel = 'x'", "task.toml: titel"),
        ("title = 3", "task.toml: title"),
        ("scale = 'yes'", "task.toml: scale"),
        ("title = ", "task.toml: cannot be read as TOML"),
        ("orders = 'random'", "task.toml: orders"),
        ("tally = 'magic'", "tally 'magic': there is none"),
        ("[fields]\ntgas = 'x'", "task.toml: fields.tgas"),
        ("[map]\nfiel = 'x'", "task.toml: map.fiel"),
        ("[map]\ncolumns = 'x'", "task.toml: map.columns"),
        ("[axes.polcy]\nnone = false", "task.toml: axes.polcy"),
        ("[axes.policy]\nasked = ['strct']", "condition policy=strct: there is none"),
        ("rows = 'row.jsonl'", "row.jsonl: no such file"),
        ("map = 'map.csv'", "task.toml: map"),
        ("tally = 'policy'\n[settings]\nabstian = 'x'", "task.toml: settings.abstian"),
        ("tally = 'policy'\n[settings]\nabstain = 3", "task.toml: settings.abstain"),
        ("tally = 'shares'\n[settings]\nblock = 'rules'", "task.toml: settings.block"),
        ("tally = 'vector'\n[settings]\nblock = 'rule'", "task.toml: settings.block"),
        ("tally = 'pluralism'\n[settings]\nleast_groups = true", "task.toml: settings.least_groups"),
        ("tally = 'profile'\n[settings]\nprinciples = [{name = 'x'}]", "task.toml: settings.principles"),
    ],
)
def test_a_mistake_in_task_toml(toml, place, tmp_path):
    assert fails(q.write(tmp_path / "t", [ROW, OTHER], [POLICY], toml)).startswith(place)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task=nowhere"], "--task=nowhere: no such folder; expected a folder with a task.toml, or one of"),
        (["--task={t}", "--condition=polcy=strict"], "--condition=polcy=...: no such axis; there are policy"),
        (
            ["--task={t}", "--condition=policy=strct"],
            "condition policy=strct: there is none; there are 'none', 'strict'",
        ),
        (["--task={t}", "--condition=policy"], "--condition=policy: expected AXIS=ID,ID ..."),
        (["--task={t}", "--limit=0"], "--limit=0: expected at least 1"),
        (["--task={t}", "--json"], "--json: has no meaning beside --task="),
        (["--task={t}", "questions.txt"], "FILE: has no meaning beside --task="),
        (["--task={t}", "--config.prompt.template=x"], "--config.prompt.template=x: has no meaning beside --task="),
        (["--limit=3"], ": is of a questionnaire; pass --task=FOLDER too"),
        (["--task={t}", "--model=scripted:last"], "two respondents are called 'scripted:last'"),
    ],
)
def test_a_mistake_on_the_command_line(flags, said, tmp_path, capsys):
    task = q.write(tmp_path / "t", [ROW, OTHER], [POLICY])
    given = [flag.format(t=task) for flag in flags]
    assert main.main(["ask", "--model=scripted:last", f"--out={tmp_path / 'out'}", *given]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_three_prompts_and_asks_nobody(tmp_path, capsys):
    task = q.write(tmp_path / "t", [ROW, OTHER], [POLICY])
    assert main.main(["ask", f"--task={task}", "--dry-run", f"--out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("t: 2 rows x 2 conditions = 4")
    assert said.count("[answer] Answer:") == 3
    assert "Never lie to Ann.\n\nA post.\n\nWas it wrong?\n\nA. yes\nB. no" in said
    assert not (tmp_path / "out").exists()


def test_shipped_questionnaires_are_whole():
    """Each can be read and crossed, says where it comes from, and has rows enough or the original's address."""
    named = {"policies", "daily_dilemmas", "risk", "moral_choice", "value_vector", "pluralism", "wiser"}
    assert set(folder.shipped()) >= named
    for name in folder.shipped():
        task = folder.read(name)
        assert all((task.title, task.about, task.paper.startswith("arXiv:"), task.licence, task.attribution)), name
        conditions.read(task)
        if task.tally == folder.GRAPH:
            assert len(graph.read(name, None, None, {}, asks=True).asked.parts[0].examples) >= 24
        elif task.tally == folder.UTILITIES:
            assert len(outcomes.read(task.path / task.rows)) >= 24, name
        elif task.replies:
            asked = [e for part in replies.read(name, {}).parts for e in part.examples]
            assert sum(1 + len(e.notes["turns"]) for e in asked) >= 24, name
        elif task.tally == folder.KALEIDO:
            assert len(kaleido.read_labelled(str(task.path / "held_out.jsonl"))) >= 24
        elif task.sample and task.tally not in questionnaire.WITHOUT_ANSWERS:
            assert len(questions.read(task)) >= 24, name
            assert questionnaire.read(name, {}).size >= 24
        else:
            assert task.tally in questionnaire.WITHOUT_ANSWERS or "/" in task.rows


def test_a_table_with_a_row_for_each_option(tmp_path):
    fields = (
        '[fields]\nrow = "{d}"\nid = "{d}"\ntext = "{post}"\nquestion = "Which?"\noption = "{act}"\ntags = "values"\n'
    )
    task = q.write(tmp_path / "t", [], toml=f'rows = "acts.csv"\n{fields}')
    (task / "acts.csv").write_text(
        'd,post,act,values\n1,P1,go,"[\'a\', \'b\']"\n2,P2,run,"c"\n1,P1,stay,"[]"\n2,P2,sit,"a, c"\n'
    )
    first, second = examples(task)
    assert (first.id, first.options, first.notes["tags"]) == ("1", ("go", "stay"), [["a", "b"], []])
    assert (second.text, second.notes["tags"]) == ("P2", [["c"], ["a", "c"]])


@pytest.mark.parametrize(
    "field",
    ['gold = "gld"', 'tags = "v1|v2"', 'tags = "zz_*|yy_*"', 'group = "{grp}"', 'question = "{qq}"', 'id = "{idd}"',
     'options = "{a}|{bb}"'],
)  # fmt: skip
def test_a_column_that_the_table_lacks(field, tmp_path):
    fields = {"id": '"{n}"', "question": '"{what}"', "options": '"{a}|{b}"'}
    fields |= dict([field.split(" = ")])
    toml = 'rows = "t.csv"\n[fields]\n' + "".join(f"{name} = {value}\n" for name, value in fields.items())
    task = q.write(tmp_path / "t", [], toml=toml)
    (task / "t.csv").write_text("n,what,a,b\n1,Which?,x,y\n")
    said = fails(task)
    assert said.startswith("t.csv: no column "), said


def test_rows_may_lie_elsewhere(tmp_path):
    q.write(tmp_path / "data", [ROW])
    task = q.write(tmp_path / "t", [], toml=f"rows = '{tmp_path / 'data' / 'rows.jsonl'}'\n")
    assert [e.id for e in examples(task)] == ["r1"]
    missing = q.write(tmp_path / "m", [], toml=f"rows = '{tmp_path / 'nowhere.csv'}'\n")
    assert fails(missing) == f"{tmp_path / 'nowhere.csv'}: no such file"


def test_bad_rows_of_a_table_are_named_or_left_out(tmp_path):
    task = q.write(tmp_path / "t", [ROW, ROW | {"id": "x", "options": ["same", "same"]}])
    with pytest.raises(Exception, match="rows.jsonl:2: field 'options'.*--on-bad-row=drop"):
        questionnaire.read(str(task), {})
    assert questionnaire.read(str(task), {}, drops_bad=True).size == 1


def test_without_a_network_the_flags_for_files_are_named(monkeypatch, capsys):
    import datasets

    def fail(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr("moral_jax.tasks.hub._card", lambda name: (None, None))
    assert main.main(["ask", "--task=daily_dilemmas", "--model=scripted:last", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "rows='kellycyy/daily_dilemmas/Dilemmas_with_values_aggregated:test': could not be fetched" in said
    assert "pass --rows=FILE" in said


@pytest.mark.parametrize("command", [["ask", "--task={}", "--model=scripted:last"], ["tally", "{}"]])
@pytest.mark.parametrize(
    ("name", "said"), [("wiser", "moral-jax graph wiser"), ("outcomes", "moral-jax elicit outcomes")]
)
def test_what_another_command_asks_names_that_command(name, said, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main([part.format(name) for part in command]) == 2
    assert said in capsys.readouterr().err
