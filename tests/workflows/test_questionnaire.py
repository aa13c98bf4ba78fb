"""Asking a questionnaire from outside: what is written, what is not asked twice, and records of another program."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.workflows import questionnaire
from tests.helpers import questionnaires as q

ROWS = [{"id": f"r{i}", "text": f"Post {i}.", "question": "Was it wrong?", "options": ["yes", "no"], "gold": "no"}
        for i in range(12)]  # fmt: skip
CONDITIONS = [
    {"id": "strict", "axis": "policy", "before": "Be strict."},
    {"id": "mild", "axis": "policy", "before": "Be mild."},
]
WHO = "--model=scripted:last"


@pytest.fixture
def task(tmp_path):
    return q.write(tmp_path / "task", ROWS, CONDITIONS, 'title = "Posts"\n')


def test_a_directory_says_all(task, tmp_path, capsys):
    found = q.ask(task, tmp_path / "out", WHO, draws=True)
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} >= {
        "records.jsonl",
        "questionnaire.json",
        "tally.json",
        "report.html",
        "report.md",
    }
    assert len(q.records(out)) == 36
    about = json.loads((out / "questionnaire.json").read_text())
    assert about["respondents"]["scripted:last"]["about"]["path"] == "scripted:last"
    page = (out / "report.html").read_text()
    for sentence in found["findings"]:
        assert sentence.replace("'", "&#39;") in page
    assert page.count("<svg") == page.count("<figcaption>") >= 3
    assert "which does not read the rows" in capsys.readouterr().out
    [record] = [r for r in q.records(out) if r["row"] == "r3" and r["condition"] == {"policy": "mild"}]
    assert (record["respondent"], record["text"], record["gold"], record["counts"]) == (
        "scripted:last", "Be mild.\n\nPost 3.", 1, None)  # fmt: skip
    assert [o["probabilities"] for o in record["orders"]] == [[0, 1], [1, 0]]


def test_nothing_is_asked_twice(task, tmp_path, asked):
    out = tmp_path / "out"
    q.ask(task, out, WHO, "--condition=policy=none,strict")
    assert len(asked) == 24
    first = (out / "records.jsonl").read_bytes()
    q.ask(task, out, WHO, "--condition=policy=none,strict")
    assert len(asked) == 24
    q.ask(task, out, WHO)  # a condition that is added costs only itself
    assert {name for name, _ in asked[24:]} == {"last"}
    assert all("policy=mild" in id for _, id in asked[24:])
    assert len(asked) == 36
    found = q.ask(task, out, WHO, "--model=scripted:obey")  # and so does a respondent
    assert [name for name, _ in asked[36:]] == ["obey"] * 36
    assert found["respondents"] == ["scripted:last", "scripted:obey"]
    assert (out / "records.jsonl").read_bytes().startswith(first)
    change = found["tables"]["Right options"]["cells"]["scripted:obey"]["none"]["accuracy"]["change"]
    assert change["value"] == 0.5


def test_a_cut_line_is_asked_again(task, tmp_path, asked):
    out = tmp_path / "out"
    q.ask(task, out, WHO)
    whole = (out / "records.jsonl").read_bytes()
    (out / "records.jsonl").write_bytes(whole[:-40])
    q.ask(task, out, WHO)
    assert len(asked) == 37
    assert (out / "records.jsonl").read_bytes() == whole


def test_other_rows_under_the_same_name_are_refused(task, tmp_path, capsys):
    q.ask(task, tmp_path / "out", WHO)
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    q.write(task, [ROWS[0] | {"text": "Another post."}, *ROWS[1:]], CONDITIONS, 'title = "Posts"\n')
    assert main.main(["ask", f"--task={task}", f"--out={tmp_path / 'out'}", WHO]) == 2
    assert "scripted:last answered row 'r0' under none when its words, right option" in capsys.readouterr().err
    other = q.write(tmp_path / "other", ROWS)
    assert main.main(["ask", f"--task={other}", f"--out={tmp_path / 'out'}", WHO]) == 2
    assert "holds answers to 'task', not to 'other'" in capsys.readouterr().err
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


def test_another_model_under_the_same_name_is_refused(task, tmp_path, capsys):
    q.ask(task, tmp_path / "out", "--model=me=scripted:last", "--limit=3")
    assert main.main(["ask", f"--task={task}", f"--out={tmp_path / 'out'}", "--model=me=scripted:first"]) == 2
    assert "another me has answered here" in capsys.readouterr().err


def test_who_cannot_choose_says_so(task, tmp_path, capsys):
    assert main.main(["ask", f"--task={task}", f"--out={tmp_path / 'out'}", "--model=baseline:prior"]) == 2
    assert "baseline:prior: a baseline is fitted to rows with votes" in capsys.readouterr().err
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_a_killed_run_goes_on_to_the_same_bytes(task, tmp_path, monkeypatch):
    monkeypatch.setattr(questionnaire, "PIECE", 5)
    q.ask(task, tmp_path / "whole", WHO)
    in_fives = "from moral_jax.workflows import questionnaire; questionnaire.PIECE = 5"
    q.killed("ask", f"--task={task}", f"--out={tmp_path / 'out'}", WHO, before=in_fives)
    assert len((tmp_path / "out" / "records.jsonl").read_text().splitlines()) == 11
    q.ask(task, tmp_path / "out", WHO)
    for name in ("records.jsonl", "tally.json", "report.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_records_of_another_program(tmp_path):
    """A line needs a row, options and shares, which need not sum to 1; gold may be the option's words."""
    out = tmp_path / "out"
    out.mkdir()
    lines = [{"row": f"r{i}", "options": ["yes", "no"], "probabilities": [1, 3], "gold": "no"} for i in range(6)]
    (out / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main.main(["tally", str(out), "--as=shares"]) == 0
    found = json.loads((out / "tally.json").read_text())
    assert q.values(found, "Right options") == {"none": {"mean share": 0.75, "accuracy": 1.0}}


def test_a_last_line_without_an_end_is_kept_and_one_that_is_cut_is_not(task, tmp_path):
    q.ask(task, tmp_path / "out", WHO)
    path = tmp_path / "out" / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    q.ask(task, tmp_path / "out", "--model=scripted:first")
    assert path.read_bytes().startswith(whole)
    path.write_bytes(whole[:-20])
    q.ask(task, tmp_path / "out", WHO)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"options": ["yes"]}, "records.jsonl:1: field 'options'"),
        ({"probabilities": [1]}, "records.jsonl:1: field 'probabilities'"),
        ({"probabilities": [-1, 2]}, "records.jsonl:1: field 'probabilities'"),
        ({"gold": "maybe"}, "records.jsonl:1: field 'gold'"),
        ({"tags": [["a"]]}, "records.jsonl:1: field 'tags'"),
        ({"labels": {"x": [["a"]]}}, "records.jsonl:1: field 'labels'"),
        ({"orders": [{"order": [0, 0], "probabilities": [1, 1]}]}, "records.jsonl:1: field 'orders'"),
        ({"condition": {"a": 1}}, "records.jsonl:1: field 'condition'"),
        ({"row": None}, "records.jsonl:1: field 'row'"),
        ({"positions": [1]}, "records.jsonl:1: field 'positions'"),
    ],
)
def test_a_mistake_in_them(line, said, tmp_path, capsys):
    record = {"row": "r", "options": ["yes", "no"], "probabilities": [0.5, 0.5]} | line
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")
    assert main.main(["tally", str(tmp_path), "--as=shares"]) == 2
    assert said in capsys.readouterr().err


def test_what_tally_refuses(tmp_path, capsys):
    record = json.dumps({"row": "r", "options": ["yes", "no"], "probabilities": [0.5, 0.5]}) + "\n"
    (tmp_path / "records.jsonl").write_text(record)
    for flags, said in (
        ([], "has no questionnaire.json that names a tally; pass --as="),
        (["--as=magic"], "tally 'magic': there is none"),
        (["--as=policy"], "nothing to count"),
        (["--as=shares", "--resamples=0"], "--resamples=0: expected at least 1"),
    ):
        assert main.main(["tally", str(tmp_path), *flags]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "records.jsonl").write_text(record * 2)
    assert main.main(["tally", str(tmp_path), "--as=shares"]) == 2
    assert "has answered row 'r' under none already" in capsys.readouterr().err
    assert main.main(["tally", str(tmp_path / "nowhere")]) == 2


def test_a_local_model_reads_what_prompts_share_once(task, tiny_folder, tmp_path):
    flags = [f"--model=tiny={tiny_folder}", "--config.prompt.format=plain", "--config.model.unroll=1", "--limit=4"]
    q.ask(task, tmp_path / "out", *flags)
    tokens = json.loads((tmp_path / "out" / "questionnaire.json").read_text())["respondents"]["tiny"]["tokens"]
    assert 0 < tokens["read"] < tokens["alone"]
    assert "% saved" in (tmp_path / "out" / "report.html").read_text()
    shares = [r["probabilities"][0] for r in q.records(tmp_path / "out")]
    assert len(shares) == 12
    assert len({round(p, 6) for p in shares}) > 6  # it reads


def test_frequencies(tmp_path, capsys):
    toml = (
        'tally = "frequencies"\nfrequencies = "f.csv"\n[map]\nfile = "map.csv"\ntag = "value"\n'
        '[settings]\ndimensions = ["transparency", "reliability", "user impact", "privacy"]\n'
    )
    percents = "value,percent\nhonesty,20\nclarity,10\ncare,30\nwit,5\n"
    dimensions = "honesty,transparency|reliability\nclarity,transparency\ncare,user impact\nwit,\n"
    task = q.write(tmp_path / "wild", [], toml=toml, f_csv=percents, map_csv=f"value,dimension\n{dimensions}")
    assert main.main(["tally", str(task), f"--out={tmp_path / 'out'}"]) == 0
    found = json.loads((tmp_path / "out" / "tally.json").read_text())
    cells = q.values(found, "Scores of dimensions")
    assert [c["raw"] for c in cells.values()] == [30, 20, 30, 0]
    assert [c["max"] for c in cells.values()] == pytest.approx([10, 6.666667, 10, 0])
    assert [c["share"] for c in cells.values()] == pytest.approx([3.75, 2.5, 3.75, 0])
    assert found["coverage"] == pytest.approx(0.923077, abs=1e-6)
    assert "wit (5 %)" in found["findings"][0]
    assert main.main(["ask", f"--task={task}", "--model=scripted:uniform", "--dry-run"]) == 2
    assert "nobody needs to answer it" in capsys.readouterr().err


def test_row_order_and_scale_of_percents_do_not_matter():
    from moral_jax.analysis.tallies import frequencies

    percents, of = {"a": 20.0, "b": 10.0, "c": 5.0}, {"a": ["x", "y"], "b": ["x"]}
    one = frequencies.scores(percents, of, ["x", "y"])
    for other, factor in ((dict(reversed(percents.items())), 1), ({k: 2 * v for k, v in percents.items()}, 2)):
        two = frequencies.scores(other, of, ["x", "y"])
        for d in ("x", "y"):
            assert two["dimensions"][d]["raw"] == factor * one["dimensions"][d]["raw"]
            assert [two["dimensions"][d][k] for k in ("max", "share")] == [
                one["dimensions"][d][k] for k in ("max", "share")
            ]
        assert two["coverage"] == one["coverage"]
    assert frequencies.scores(percents, {"a": ["x", "y"]}, ["x", "y"])["coverage"] < one["coverage"]


def test_the_way_of_counting_changes_the_decision(tmp_path, capsys):
    for way, winner in (("plurality", "the hall"), ("Borda", "the park"), ("Condorcet", "the park")):
        assert main.main(["tally", "ballots", f"--aggregate={way}", f"--out={tmp_path / way}"]) == 0
        assert f"Where do we meet?: by {way} {winner}; by others " in capsys.readouterr().out
    cells = q.values(json.loads((tmp_path / "Borda" / "tally.json").read_text()), "Where do we meet?")
    assert [c["Borda"] for c in cells.values()] == [10, 16, 10]
    assert [c["plurality"] for c in cells.values()] == [5, 4, 3]
    assert main.main(["tally", "ballots", "--aggregate=magic", f"--out={tmp_path / 'x'}"]) == 2
    assert "--aggregate=magic: no such way; there are mean, plurality" in capsys.readouterr().err
    assert main.main(["tally", "policies", f"--out={tmp_path / 'x'}"]) == 2
    assert "has no answers yet; ask somebody first" in capsys.readouterr().err


def test_few_rows_have_no_interval_and_no_star(tmp_path):
    """Not the rows of the table count, but those that a number rests on."""
    tags = ["rare"] * 4 + ["often"] * 36
    rows = [
        {"id": f"r{i}", "question": "Which?", "options": ["a", "bb"], "tags": [[t], []]} for i, t in enumerate(tags)
    ]
    found = q.ask(q.write(tmp_path / "t", rows), tmp_path / "out", "--model=scripted:longest")
    rare, often = (q.cell(found, "Share of options with a tag", tag, "none") for tag in ("rare", "often"))
    assert ("low" in rare, rare["told_apart"], "low" in often) == (False, False, True)


def test_an_interval_ends_where_95_of_100_resamples_lie(tmp_path):
    """Of a share of 30 in 100 rows about 0.21 to 0.39, by the binomial distribution."""
    rows = [{"id": f"r{i}", "question": "Which?", "options": ["a", "b"], "gold": "a"} for i in range(100)]
    (tmp_path / "f.json").write_text(json.dumps({f"r{i}": "a" if i < 30 else "b" for i in range(100)}))
    agent = f"--model=scripted:leaning?file={tmp_path / 'f.json'}"
    share = q.cell(q.ask(q.write(tmp_path / "t", rows), tmp_path / "out", agent), "Right options", "none", "mean share")
    assert (share["low"], share["high"]) == pytest.approx((0.21, 0.39), abs=0.021)


def test_respondents_that_were_asked_other_rows_are_not_compared(task, tmp_path):
    found = q.ask(task, tmp_path / "out", WHO)
    found = q.ask(task, tmp_path / "out", "--model=scripted:first", "--limit=6")
    assert (
        "scripted:first: It was asked other questions than scripted:last: they are not compared." in found["findings"]
    )
    assert "change" not in found["tables"]["Right options"]["cells"]["scripted:first"]["none"]["accuracy"]


def test_an_axis_that_comes_later_costs_only_itself(task, tmp_path, asked):
    q.ask(task, tmp_path / "out", WHO)
    persona = {"id": "ann", "axis": "persona", "before": "You are Ann."}
    q.write(task, ROWS, [*CONDITIONS, persona], 'title = "Posts"\n')
    q.ask(task, tmp_path / "out", WHO)
    assert len(asked) == 72
    assert all("persona=ann" in name for _, name in asked[36:])


def test_what_changed_of_a_right_option_is_refused(task, tmp_path, capsys):
    q.ask(task, tmp_path / "out", WHO)
    q.write(task, [ROWS[0] | {"gold": "yes"}, *ROWS[1:]], CONDITIONS, 'title = "Posts"\n')
    assert main.main(["ask", f"--task={task}", f"--out={tmp_path / 'out'}", WHO]) == 2
    assert "when its words, right option, tags" in capsys.readouterr().err


def test_words_of_strangers_steer_no_page_and_no_terminal(tmp_path, capsys):
    bad = "<script>x</script> $\\frac{$ \x1b[31m | \n# head"
    lines = [{"respondent": bad, "row": f"{bad} {i}", "options": [bad, "b"], "probabilities": [1, 3], "gold": 1,
              "tags": [[bad], []], "question": bad} for i in range(6)]  # fmt: skip
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "questionnaire.json").write_text(json.dumps({"title": bad, "about": bad, "respondents": {}}))
    assert main.main(["tally", str(tmp_path), "--as=shares", "--resamples=20"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert "<script>" not in (tmp_path / "report.html").read_text()
    page = (tmp_path / "report.md").read_text()
    assert "<script>" not in page
    assert "\n# head" not in page


@pytest.mark.parametrize(
    ("task", "flag"),
    [("risk", "--condition=persona=nurse"), ("pluralism", "--condition=people=north"), ("pluralism", "--limit=1")],
)
def test_what_cannot_be_counted_says_so(task, flag, tmp_path, capsys):
    code = main.main(["ask", f"--task={task}", WHO, f"--out={tmp_path / 'out'}", flag])
    assert code in (0, 2)
    assert code == 0 or "nothing to count" in capsys.readouterr().err
