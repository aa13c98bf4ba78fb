"""Moral graphs from outside: golden values, what turns and moves a ranking, models that vote, use of winners."""

import json
import sys

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config.task import TaskConfig
from moral_jax.tasks import reading
from tests.helpers import graphs as g
from tests.helpers import questionnaires as q

PUBLIC = "moral_graph/moral-graph-prolific-run.json"
# likelihoods .5, 1, .5, .5, .4
GOLDEN = {"ab": "WWUU", "bc": "WW", "ca": "WWUU", "ad": "WWUU", "ed": "WWUUU"}
PERSONAS = [
    {"id": f"p{i}", "axis": "persona", "messages": [{"role": "system", "content": f"You are person {i}."}]}
    for i in range(5)
]


def test_golden_pagerank(tmp_path):
    found = g.make(tmp_path, g.votes(GOLDEN), g.cards("abcde"))["people"]
    assert {e["from"] + e["to"]: e["likelihood"] for e in found["edges"] if e["kept"]} == pytest.approx(
        {"ab": 0.5, "bc": 1, "ca": 0.5, "ad": 0.5, "ed": 0.4}
    )
    assert g.values(found) == pytest.approx(
        {"a": 0.266907, "b": 0.185331, "c": 0.229426, "d": 0.246441, "e": 0.071895}, abs=1e-6
    )
    assert g.values(found, "dropped") == pytest.approx(
        {"a": 0.111374, "b": 0.077334, "c": 0.095734, "d": 0.102834, "e": 0.030000}, abs=1e-6
    )
    assert g.values(found, "incoming") == pytest.approx({"a": 0.5, "b": 0.5, "c": 1, "d": 0.9, "e": 0})
    assert found["order"] == list("adcbe")
    assert found["order by incoming"] == list("cdabe")


def test_golden_edge(tmp_path):
    """W 3, U 1 and one "wiser" of the way back; and the counts turned round."""
    found = g.make(tmp_path, g.votes({"ab": "WWWU", "ba": "W"}), g.cards("ab"), "--most-entropy=2")["people"]
    there, back = found["edges"]
    assert (there["from"], there["likelihood"]) == ("a", pytest.approx(0.4))
    assert [there[k] for k in ("wiser", "not_wiser", "unsure", "back", "impressions")] == [3, 0, 1, 1, 5]
    assert (there["published_entropy"], there["entropy"]) == pytest.approx((1.685475, 1.370951), abs=1e-6)
    assert (there["kept"], back["kept"]) == (True, False)
    turned = g.make(tmp_path / "turned", g.votes({"ab": "WU", "ba": "WWW"}), g.cards("ab"))["people"]
    [there] = [e for e in turned["edges"] if e["from"] == "a"]
    assert there["likelihood"] == pytest.approx(-0.4)
    assert (there["published_entropy"], there["entropy"]) == pytest.approx((1.685475, 1.370951), abs=1e-6)


@pytest.mark.parametrize(
    ("said", "flag", "kept"),
    [
        ("W", None, False), ("WW", None, True), ("WWW", "--least-wiser=4", False), ("W", "--least-wiser=1", True),
        ("WWNNNNN", None, False), ("WWNNNN", None, True), ("WWNNNNN", "--least-likelihood=0.2", True),
        ("WWWNU", "--most-entropy=1.3", False), ("WWWNU", None, True),
    ],
)  # fmt: skip
def test_which_edges_are_kept(said, flag, kept, tmp_path):
    """By default two votes for wiser, a likelihood of .33 and 1.5 bits."""
    found = g.make(tmp_path, g.votes({"ab": said}), g.cards("abc"), *([flag] if flag else []), resamples=5)["people"]
    assert found["edges"][0]["kept"] is kept
    assert (g.values(found)["b"] > g.values(found)["a"]) is kept


def test_the_page_and_the_terminal_print_both_rankings_and_the_winners(tmp_path, capsys):
    votes = g.votes(GOLDEN) + g.votes({"ab": "WWWW", "cb": "WWW"}, "at home")
    found = g.make(tmp_path, votes, g.cards("abcde"), draws=True)["people"]
    assert {c: of["winners"] for c, of in found["contexts"].items()} == {"at work": ["a"], "at home": ["b"]}
    assert found["contexts"]["at work"]["incoming"] == ["c"]
    page, markdown = ((tmp_path / "out" / f"report.{suffix}").read_text() for suffix in ("html", "md"))
    said = capsys.readouterr().out
    for text in (page, markdown, said):
        for words in ("Value a", "Value e", "PageRank", "incoming likelihood", "at home", "shuffled votes"):
            assert words in text, words
    assert page.count("<svg") == page.count("<figcaption>") == 3
    assert "dangling mass dropped" in page


def chain(cards: str, votes: int = 8) -> dict[str, str]:
    return {one + other: "W" * votes for one, other in zip(cards, cards[1:], strict=False)}


def test_turning_every_edge_turns_the_ranking(tmp_path):
    turned = {pair[::-1]: said for pair, said in chain("abcde").items()}
    one = g.make(tmp_path / "one", g.votes(chain("abcde")), g.cards("abcde"))["people"]
    other = g.make(tmp_path / "other", g.votes(turned), g.cards("abcde"))["people"]
    assert one["order"] == list("edcba")
    assert other["order"] == list("abcde")
    assert list(g.values(one).values()) == pytest.approx(list(g.values(other).values())[::-1])


def test_cycles_lone_cards_and_votes_for_nothing(tmp_path, capsys):
    cycle = g.make(tmp_path / "cycle", g.votes({"ab": "WW", "bc": "WW", "ca": "WW"}), g.cards("abcx"))["people"]
    assert g.values(cycle)["a"] == pytest.approx(g.values(cycle)["b"]) == pytest.approx(g.values(cycle)["c"])
    assert g.values(cycle)["a"] > g.values(cycle)["x"] > 0
    assert cycle["contexts"]["at work"]["winners"] == ["a", "b", "c"]
    capsys.readouterr()
    none = g.make(tmp_path / "none", g.votes({"ab": "NNU"}), g.cards("abc"))["people"]
    assert list(g.values(none).values()) == pytest.approx([1 / 3] * 3)
    assert none["contexts"]["at work"]["winners"] == []
    said = capsys.readouterr().out
    assert 'No edge is kept, so no card is wiser than another: the most "wiser" votes on a pair are 0' in said
    assert "none: no edge is kept" in said
    assert (tmp_path / "none" / "out" / "system_prompt.txt").read_text() == "No context has a winner.\n"


def test_copies_of_a_voter_move_a_value_by_what_is_printed(tmp_path, capsys):
    copied = {"from": "a", "to": "d", "context": "at work", "answer": "wiser"}
    votes = g.votes(chain("abc")) + [{"voter": f"copy-{i}"} | copied for i in range(4)]
    found = g.make(tmp_path, votes, g.cards("abcd"), "--without-voter=copy-*")["people"]
    without = g.make(tmp_path / "without", g.votes(chain("abc")), g.cards("abcd"))["people"]
    moved = g.values(without)["d"] - g.values(found)["d"]
    assert moved < -0.05
    assert found["without"]["voters"] == [f"copy-{i}" for i in range(4)]
    assert found["without"]["cards"]["d"]["pagerank"] == pytest.approx(moved)
    assert found["without"]["cards"]["d"]["incoming"] == -1
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<td>Value d</td><td>{moved:+.3f}</td><td>-1.000</td>" in page
    one = g.make(tmp_path / "one", votes[:-3], g.cards("abcd"), "--without-voter=copy-0")["people"]
    assert one["without"]["moved"] == 0  # one vote makes no edge
    assert main.main(["graph", str(tmp_path / "votes.jsonl"), f"--cards={tmp_path / 'cards.jsonl'}",
                      f"--out={tmp_path / 'out'}", "--without-voter=nobody", "--resamples=5"]) == 2  # fmt: skip
    assert "--without-voter=nobody: no such voter; there are 'ab0'" in capsys.readouterr().err


def planted(rng, cards="abcdef", voters=12, knows=True):
    """Votes of people who take the later letter for the wiser, or (knows=False) answer without reading."""
    out = []
    for v in range(voters):
        for one in cards:
            for other in cards:
                if one != other and rng.random() < 0.5:
                    wiser = (one < other) == (rng.random() < 0.9) if knows else rng.random() < 0.5
                    answer = "wiser" if wiser else "not_wiser"
                    out.append({"voter": f"v{v}", "from": one, "to": other, "context": "at work", "answer": answer})
    return out


def outside(found, kind="incoming"):
    return sum(of[kind]["outside"] for of in found["rankings"].values())


def test_votes_are_outside_the_band_and_shuffled_votes_within(tmp_path):
    """Gate, seen red with constant voters in the place of those who know."""
    rng = np.random.default_rng(0)
    knows = planted(rng)
    found = g.make(tmp_path / "knows", knows, g.cards("abcdef"))["people"]
    assert found["order"][0] == "f"
    assert found["rankings"]["f"]["incoming"]["outside"]
    assert outside(found) >= 3
    assert outside(found, "pagerank") >= 1
    counts = []
    for i in range(5):
        answers = [vote["answer"] for vote in knows]
        mixed = [vote | {"answer": answer} for vote, answer in zip(knows, rng.permutation(answers), strict=True)]
        counts.append(outside(g.make(tmp_path / f"shuffled{i}", mixed, g.cards("abcdef"))["people"]))
    assert np.mean(counts) <= 1  # of six cards .3 would be by chance
    constant = [vote | {"answer": "wiser"} for vote in knows]
    found = g.make(tmp_path / "constant", constant, g.cards("abcdef"))["people"]
    assert outside(found) == outside(found, "pagerank") == 0
    assert found["both ways"] == 1


def test_the_longer_card_stands_beside(tmp_path):
    cards = g.cards("abc")
    cards[2]["policies"].append("MORE words")
    found = g.make(tmp_path, g.votes({"ab": "WW", "bc": "NN", "ca": "WW"}), cards)["people"]
    beside = {c: of["incoming"]["longer card"] for c, of in found["rankings"].items()}
    assert beside == {"a": 0, "b": 0, "c": 1}
    assert g.values(found, "incoming") == {"a": 1, "b": 1, "c": 0}


def test_intervals_hold_how_voters_differ(tmp_path):
    sure = g.make(tmp_path / "sure", g.votes({"ab": "W" * 10}), g.cards("ab"))["people"]
    split = g.make(tmp_path / "split", g.votes({"ab": "WWWWWNNNNN"}), g.cards("ab"))["people"]
    few = g.make(tmp_path / "few", g.votes({"ab": "WWWW"}), g.cards("ab"))["people"]
    width = [of["rankings"]["b"]["incoming"]["high"] - of["rankings"]["b"]["incoming"]["low"] for of in (sure, split)]
    assert width[0] == 0
    assert width[1] > 0.3
    assert "low" not in few["rankings"]["b"]["incoming"]
    assert sure["contexts"]["at work"]["wins"] == 1
    assert split["contexts"]["at work"]["wins"] < 1


def test_a_vote_in_two_contexts_counts_once_in_all_and_in_each(tmp_path):
    votes = [vote | {"context": ["at work", "at home"]} for vote in g.votes({"ab": "WW"})]
    found = g.make(tmp_path, [*votes, *g.votes({"ba": "WWW"}, "At home")], g.cards("ab"))["people"]
    assert found["votes"] == 5
    winners = {c: of["winners"] for c, of in found["contexts"].items()}
    assert winners == {"at work": ["b"], "at home": ["b"], "At home": ["a"]}  # contexts are matched exactly


def public_votes(graph):
    """The public graph's counts as votes, each by a voter of its own."""
    kinds = (("markedWiser", "wiser"), ("markedNotWiser", "not_wiser"), ("markedUnsure", "unsure"))
    for e in graph["edges"]:
        ends = str(e["sourceValueId"]), str(e["wiserValueId"])
        counted = [(ends, answer, e["counts"][kind]) for kind, answer in kinds]
        for (source, target), answer, count in [*counted, (ends[::-1], "wiser", e["counts"]["markedLessWise"])]:
            for i in range(count):
                voter = f"{ends} {source} {answer} {i}"
                yield {"voter": voter, "from": source, "to": target, "context": e["contexts"], "answer": answer}


def test_the_public_graph(shared, tmp_path):
    """Of arXiv 2404.10636."""
    graph = json.loads((shared / PUBLIC).read_text())
    cards = [{"id": str(v["id"]), "title": v["title"], "policies": v["evaluationCriteria"]} for v in graph["values"]]
    found = g.make(tmp_path, list(public_votes(graph)), cards, resamples=20)["people"]
    titles = {card["id"]: card["title"] for card in cards}
    assert (found["cards"], found["kept"]) == (59, 67)
    assert {titles[c]: round(g.values(found)[c], 6) for c in found["order"][:3]} == {
        "Information Empowerment": 0.093927,
        "Truth Seeking": 0.085839,
        "Respecting Autonomy in Politicised Contexts": 0.069398,
    }
    dropped = g.values(found, "dropped")
    assert sorted(dropped, key=lambda c: -dropped[c])[:3] == found["order"][:3]
    assert sum(dropped.values()) == pytest.approx(0.4237, abs=1e-4)
    first = found["order by incoming"][0]
    assert (titles[first], round(g.values(found, "incoming")[first], 3)) == ("Informed Autonomy", 3.307)


def leaning(folder, order, said=("Yes, wiser", "No, not wiser")):
    """A scripted respondent that takes the later of `order` for the wiser."""
    pairs = {f"{a} > {b} | at work": said[order.index(a) > order.index(b)] for a in order for b in order if a != b}
    (folder / "leaning.json").write_text(json.dumps(pairs))
    return f"--model=who=scripted:leaning?file={folder / 'leaning.json'}"


def simulated(tmp_path, who, *flags, cards=None, votes=None):
    personas = g.lines(tmp_path / "personas.jsonl", PERSONAS)
    of_cards = cards or g.cards("abcd", ("at work",))
    return g.make(tmp_path, votes, of_cards, who, f"--personas={personas}", *flags)


def test_a_planted_voter_is_found_and_a_constant_one_ranks_nothing(tmp_path):
    found = simulated(tmp_path, leaning(tmp_path, "cadb"))["who"]
    assert found["order"] == list("bdac")
    assert found["order by incoming"] == list("bdac")
    assert found["both ways"] == 0
    assert (found["votes"], found["voter count"]) == (6 * 12, 6)
    assert found["rankings"]["b"]["incoming"]["outside"]
    for rule in ("constant", "first", "uniform"):
        flat = simulated(tmp_path / rule, f"--model=scripted:{rule}")[f"scripted:{rule}"]
        assert flat["kept"] == outside(flat) == outside(flat, "pagerank") == 0
        assert set(g.values(flat).values()) == {0.25}
        assert flat["both ways"] == pytest.approx({"constant": 1}.get(rule, 1 / 3))


def test_people_and_models_vote_on_the_same_pairs_both_ways(tmp_path, capsys):
    votes = g.votes({"ab": "WWW", "bc": "WWW"})
    flags = ["--condition=persona=none,p1,p2"]
    found = simulated(tmp_path, leaning(tmp_path, "cba"), *flags, cards=g.cards("abc"), votes=votes)
    assert list(found) == ["people", "who"]
    assert {e["from"] + e["to"] for e in found["who"]["edges"]} == {"ab", "ba", "bc", "cb"}
    assert found["people"]["order"] == list("cba")
    assert found["who"]["order"] == list("abc")
    assert found["who"]["voter count"] == 3
    about = json.loads((tmp_path / "out" / "graph.json").read_text())
    assert about["agreements"] == {"who": pytest.approx(-1)}
    assert "who has Kendall's tau -1.000 to people by PageRank." in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "records.jsonl").read_text().splitlines()[0])
    assert record["text"].index("SIGNS of a") < record["text"].index("Now, this person") < record["text"].index("of b")
    assert record["groups"] == {"from": "a", "to": "b", "context": "at work"}


def test_killed_and_resumed_without_asking_twice(tmp_path):
    who = leaning(tmp_path, "cadb")
    whole = simulated(tmp_path, who)
    personas, cards = tmp_path / "personas.jsonl", tmp_path / "cards.jsonl"
    out = tmp_path / "again"
    command = ["graph", f"--cards={cards}", f"--personas={personas}", f"--out={out}", who, "--resamples=200"]
    q.killed(*command)
    before = (out / "records.jsonl").read_bytes()
    assert 0 < before.count(b"\n") < 72
    assert main.main(command) == 0
    after = (out / "records.jsonl").read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    assert after == (tmp_path / "out" / "records.jsonl").read_bytes()
    assert json.loads((out / "graph.json").read_text())["electorates"] == whole


def test_winners_as_a_prompt_a_rubric_and_preferences(tmp_path, capsys):
    votes = [*g.votes({"ab": "WWWN", "bc": "WW", "ca": "U"}), *g.votes({"cb": "WW", "bc": "W"}, "at home")]
    g.make(tmp_path, votes, g.cards("abc"), "--least-likelihood=0.3")
    out = tmp_path / "out"
    assert (out / "system_prompt.txt").read_text() == (
        "What to attend to depends on the context.\n\nat work: Value c\n- SIGNS of c\n- WAYS to c\n\n"
        "at home: Value b\n- SIGNS of b\n- WAYS to b\n"
    )
    rubric = [json.loads(line) for line in (out / "rubric.jsonl").read_text().splitlines()]
    criteria = [
        ("at work", "SIGNS of c"),
        ("at work", "WAYS to c"),
        ("at home", "SIGNS of b"),
        ("at home", "WAYS to b"),
    ]
    assert [(r["context"], r["criterion"]) for r in rubric] == criteria
    assert main.main(["data", str(out / "pairs.jsonl"), "--config=preferences/dpo"]) == 0
    assert "rows: " in capsys.readouterr().out
    rows = reading.read(str(out / "pairs.jsonl"), TaskConfig(name="preferences")).examples
    assert {e.id: e.counts for e in rows} == {
        "at work / b > c": (2, 0), "at work / a > b": (3, 0), "at home / c > b": (2, 1)}  # fmt: skip
    assert "SIGNS of c" in rows[0].options[0]


def test_the_sample(tmp_path, capsys):
    """One command to a page."""
    assert main.main(["graph", "wiser", f"--out={tmp_path / 'out'}", "--resamples=50"]) == 0
    said = capsys.readouterr().out
    assert "First by PageRank is A fair hearing" in said
    assert "sample that was made up for this project: nobody voted." in said
    found = json.loads((tmp_path / "out" / "graph.json").read_text())["electorates"]["people"]
    assert [of["winners"] for of in found["contexts"].values()] == [["own-judgement"], ["calm"], ["fair-hearing"]]
    assert main.main(["graph", "wiser", f"--out={tmp_path / 'out'}", "--resamples=5", "--model=scripted:last",
                      "--condition=persona=nurse,judge"]) == 0  # fmt: skip
    assert main.main(["ask", "--task=wiser", "--model=scripted:last", f"--out={tmp_path / 'x'}"]) == 2
    assert "moral-jax graph wiser" in capsys.readouterr().err
    assert main.main(["tally", "wiser", f"--out={tmp_path / 'x'}"]) == 2
    assert "moral-jax graph wiser" in capsys.readouterr().err
    assert main.main(["tally", str(tmp_path / "out")]) == 2
    assert "is counted by the command that asked it: moral-jax graph ..." in capsys.readouterr().err


CARD, VOTE = g.cards("ab")[0], g.votes({"ab": "W"})[0]


@pytest.mark.parametrize(
    ("cards", "votes", "said"),
    [
        ([CARD, CARD], [VOTE], "cards.jsonl:2: field 'id': card 'a' stands in"),
        ([CARD | {"id": "a > b"}], [VOTE], "cards.jsonl:1: field 'id': found 'a > b', expected a name without"),
        ([CARD], [VOTE], "cards.jsonl: holds 1 cards; expected at least two"),
        ([CARD | {"policies": []}], [VOTE], "cards.jsonl:1: field 'policies': found []"),
        ([CARD | {"titel": "x"}], [VOTE], "cards.jsonl:1: field 'titel': no such field"),
        ([CARD | {"title": " "}], [VOTE], "cards.jsonl:1: field 'title'"),
        (None, [], "votes.jsonl: holds no votes"),
        (None, [VOTE, VOTE], "votes.jsonl:2: 'ab0' has voted on 'a' to 'b' in 'at work' in"),
        (None, [VOTE | {"to": "z"}], "votes.jsonl:1: field 'to': found 'z', expected a card: 'a', 'b'"),
        (None, [VOTE | {"to": "a"}], "votes.jsonl:1: field 'to': found 'a', expected another card"),
        (None, [VOTE | {"answer": "yes"}], "votes.jsonl:1: field 'answer': found 'yes', expected one of wiser"),
        (None, [VOTE | {"context": 3}], "votes.jsonl:1: field 'context': found 3"),
        (None, [VOTE | {"voter": None}], "votes.jsonl:1: field 'voter'"),
        (None, [VOTE | {"weight": 2}], "votes.jsonl:1: field 'weight': no such field"),
    ],
)
def test_a_mistake_in_the_files(cards, votes, said, tmp_path, capsys):
    paths = g.lines(tmp_path / "votes.jsonl", votes), g.lines(tmp_path / "cards.jsonl", cards or g.cards("ab"))
    assert main.main(["graph", str(paths[0]), f"--cards={paths[1]}", f"--out={tmp_path / 'out'}"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["{votes}"], "whose cards are these votes on? Pass --cards=FILE"),
        (["nowhere.jsonl"], "nowhere.jsonl: no such file; expected votes with --cards=FILE"),
        (["wiser", "--model=people=scripted:first"], "a model is called 'people', as people are"),
        ([], "no votes are named: pass VOTES.jsonl"),
        (["ballots"], "its tally is 'aggregators', expected a questionnaire of cards"),
        (["--cards={cards}", "--model=scripted:first"], "no two cards share a context"),
        (["--cards={cards}"], "has no votes; pass votes, or --model=..."),
        (["{votes}", "--cards={cards}", "--personas=x.jsonl"], "--personas: is of models that vote"),
        (["{votes}", "--cards={cards}", "--resamples=0"], "--resamples=0: expected at least 1"),
        (["{votes}", "--cards={cards}", "--most-entropy=nan"], "--most-entropy=nan: expected a number of at least 0"),
        (["{votes}", "--cards={cards}", "--x"], "--x: unknown argument"),
        (["wiser", "--model=scripted:first", "--personas=nowhere"], "--personas=nowhere: no such file"),
        (["wiser", "--model=scripted:first", "--condition=persona=x"], "condition persona=x: there is none"),
    ],
)
def test_a_mistake_in_the_flags(flags, said, tmp_path, capsys):
    paths = {
        "votes": g.lines(tmp_path / "votes.jsonl", [VOTE]),
        "cards": g.lines(tmp_path / "cards.jsonl", g.cards("ab")),
    }
    assert main.main(["graph", *(flag.format(**paths) for flag in flags), f"--out={tmp_path / 'out'}"]) == 2
    assert said in capsys.readouterr().err


def test_answers_to_other_cards_are_refused(tmp_path, capsys):
    simulated(tmp_path, "--model=scripted:first", "--condition=persona=none")
    cards = g.lines(tmp_path / "cards.jsonl", g.cards("abc", ("at work",)))
    assert main.main(["graph", f"--cards={cards}", "--model=scripted:last", f"--out={tmp_path / 'out'}"]) == 2
    assert "row 'a > d | at work' is no vote on these cards; pass --out=ANOTHER" in capsys.readouterr().err
    changed = g.cards("abcd", ("at work",))
    changed[0]["policies"] = ["OTHER words"]
    cards = g.lines(tmp_path / "cards.jsonl", changed)
    assert main.main(["graph", f"--cards={cards}", "--model=scripted:first", f"--out={tmp_path / 'out'}"]) == 2
    assert "answered row 'a > b | at work' under none when its words" in capsys.readouterr().err


def test_without_networkx_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert main.main(["graph", "wiser", f"--out={tmp_path / 'out'}", "--model=scripted:first"]) == 2
    assert "networkx is not installed: pip install 'moral-jax[values]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_words_for_the_answers_are_the_same_answers(tmp_path):
    wording = [{"id": "short", "axis": "wording", "question": "Wiser?", "options": ["Yes", "No", "Perhaps"]}]
    said = {f"{a} > {b} | at work": "Yes, wiser" if a < b else "No, not wiser" for a in "abc" for b in "abc" if a != b}
    turned = {row: "No" if answer.startswith("Yes") else "Yes" for row, answer in said.items()}
    (tmp_path / "l.json").write_text(json.dumps(said | {"wording=short": turned}))
    who = f"--model=who=scripted:leaning?file={tmp_path / 'l.json'}"
    flags = [who, f"--personas={g.lines(tmp_path / 'w.jsonl', wording)}", "--least-wiser=1"]
    one = g.make(tmp_path, None, g.cards("abc", ("at work",)), *flags, "--condition=wording=none")["who"]
    assert one["order"] == list("cba")
    both = g.make(tmp_path, None, g.cards("abc", ("at work",)), *flags)["who"]
    assert (both["voter count"], both["kept"]) == (2, 0)  # two voters who say the opposite


def test_hostile_cards_do_nothing(tmp_path):
    cards = g.cards("ab")
    cards[1] |= {
        "title": "<script>alert(1)</script> $x$ | a",
        "policies": ["</pre><img src=x onerror=alert(1)>", "\u202e"],
    }
    g.make(tmp_path, g.votes({"ab": "WWW"}), cards, draws=True)
    page, markdown = ((tmp_path / "out" / f"report.{suffix}").read_text() for suffix in ("html", "md"))
    for text in ("<script", "<img", "\u202e"):
        assert text not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x$ | a" in page
    assert [line[:4] for line in markdown.splitlines() if "<script" in line] == ["    "]  # as code
    assert "\u202e" not in markdown


def test_a_model_is_trained_on_the_pairs(tiny_folder, tmp_path):
    """By configs/preferences/dpo.py, with the votes for either side as targets."""
    assert main.main(["graph", "wiser", f"--out={tmp_path / 'graph'}", "--resamples=5"]) == 0
    flags = [f"--config.model.path={tiny_folder}", "--config.prompt.format=plain", "--config.model.unroll=1",
             "--config.eval.bootstrap=100"]  # fmt: skip
    pairs = f"--config.task.path={tmp_path / 'graph' / 'pairs.jsonl'}"
    assert main.main(["train", "--config=preferences/dpo", pairs, f"--workdir={tmp_path / 'run'}", *flags]) == 0
    page = (tmp_path / "run" / "report.md").read_text()
    assert "chosen has the higher reward" in page
