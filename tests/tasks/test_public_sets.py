"""Tests the configs of public sets on small files of the shape that their authors publish (made up, not theirs)."""

import json
from pathlib import Path

import pytest

import moral_jax
from moral_jax.config import parsing
from moral_jax.tasks import load

CONFIGS = Path(moral_jax.__file__).parent / "configs" / "votes"
LEWIDI = {
    "number of annotations": 3,
    "number of annotators": 3,
    "annotators": "Ann1,Ann2,Ann3",
    "lang": "en",
    "split": "train",
}


def by_id(*items):
    return {str(i): LEWIDI | item for i, item in enumerate(items)}


def named(*labels):
    return {f"Ann{i}": label for i, label in enumerate(labels)}


SETS = {
    "hs_brexit": (by_id({"text": "Go.", "annotations": "1,0,0", "soft_label": {"0": 0.67, "1": 0.33}}), (1.0, 2.0)),
    "md_agreement": (by_id({"text": "Go.", "annotations": "1,1,0", "other_info": {"domain": "BLM"}}), (2.0, 1.0)),
    "armis": (by_id({"text": "\u0642\u0641", "annotations": "0,0,1"}), (1.0, 2.0)),
    "conv_abuse": (
        by_id({
            "text": json.dumps({"prev_agent": "Hi", "prev_user": "Hi", "agent": "How?", "user": "Shut up"}),
            "annotations": "-1,-2, -1",
        }),
        (0.0, 0.0, 2.0, 1.0, 0.0),
    ),
    "csc": (
        by_id({"text": {"context": "Rain.", "response": "Great."}, "annotations": named(6, 6, 5)}),
        (0, 0, 0, 0, 1, 2),
    ),
    "multipico": (
        by_id({"text": {"post": "Rain.", "reply": "Great."}, "annotations": named("1", "0", "1")}),
        (2.0, 1.0),
    ),
    "paraphrase": (
        by_id({"text": {"Question1": "Who?", "Question2": "Which?"}, "annotations": named("-5", "0", "5")}),
        (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1),
    ),
    "varierr_nli": (
        by_id({
            "text": {"context": "He ran.", "statement": "He moved."},
            "soft_label": {
                "contradiction": {"0": 1.0, "1": 0.0},
                "entailment": {"0": 0.33, "1": 0.67},
                "neutral": {"0": 0.67, "1": 0.33},
            },
        }),
        (2.0, 1.0),
    ),
}  # fmt: skip
PEOPLE = """instance_id,user_id,text,offensiveness,gender
7,a,Go home.,3.0,Man
7,b,Go home.,5.0,Woman
7,c,Go home.,5.0,Woman
"""


def first(name, path, *flags):
    flags = [f"--config.task.{flag}" for flag in (f"path={path}", "test=0", "validation=0", *flags)]
    config = parsing.from_flags([f"--config=votes/{name}", *flags])
    return config, load.load(config.task).train


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_lewidi(tmp_path, name):
    content, counts = SETS[name]
    path = tmp_path / f"{name}_train.json"
    path.write_text(json.dumps(content))
    _, examples = first(name, path)
    by_counts = {e.counts: e for e in examples}
    assert counts in by_counts
    assert "{" not in by_counts[counts].question + by_counts[counts].text
    assert bool(by_counts[counts].positions) == (name in ("conv_abuse", "csc", "paraphrase"))


@pytest.mark.parametrize("name", [*SETS, "popquorn"])
def test_fifteen_lines_are_enough_for_a_set(name):
    assert len((CONFIGS / f"{name}.py").read_text().splitlines()) <= 15


def test_questions_of_a_pair_of_varierr(tmp_path):
    path = tmp_path / "v.json"
    path.write_text(json.dumps(SETS["varierr_nli"][0]))
    _, examples = first("varierr_nli", path)
    assert {e.id: e.counts for e in examples} == {
        "0 contradiction": (0.0, 3.0),
        "0 entailment": (2.0, 1.0),
        "0 neutral": (1.0, 2.0),
    }


def test_popquorn_as_a_whole_and_by_group(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text(PEOPLE)
    config, [whole] = first("popquorn", path)
    assert (whole.counts, whole.positions) == ((0, 0, 1, 0, 2), (1, 2, 3, 4, 5))
    assert config.orders_of(whole) == "reversal"
    _, groups = first("popquorn", path, "fields.by=gender")
    assert {e.id: e.counts for e in groups} == {"7 Man": (0, 0, 1, 0, 0), "7 Woman": (0, 0, 0, 0, 2)}


def test_the_values_survey_by_country(tmp_path):
    votes, items = tmp_path / "votes.csv", tmp_path / "items.json"
    votes.write_text("country_iso_numeric,question,answer_code,count\n20,Q1,-2,4\n20,Q1,10,7\n8,Q1,1,2\n")
    items.write_text(json.dumps({"Q1": {"question": "Is it right?"}, "Q2": {"question": "Is it good?"}}))
    _, examples = first("wvs_moral", votes, f"items_path={items}")
    assert {(e.id, e.question, e.counts[0], e.counts[-1]) for e in examples} == {
        ("Q1 20", "Is it right?", 0.0, 7.0),
        ("Q1 8", "Is it right?", 2.0, 0.0),
    }


@pytest.mark.parametrize(
    ("name", "path", "rows"),
    [
        ("opinionqa", "opinionqa/opinionqa_steerable_test_small.jsonl.gz", 4000),
        ("moca", "moca/causal.jsonl", 144),
        ("mfv_clifford", "mfv_clifford/mfv_classic_human.jsonl", 132),
        ("unimoral", "unimoral/unimoral_votes.jsonl.gz", 2900),
        ("wvs_moral", "wvs_moral/wvs7_q176_q198_country_counts_5k_sample.csv", 1000),
        ("jcommonsense_morality", "jcommonsense_morality/data_test.csv", 3900),
        ("ethics:justice", "ethics/justice/justice_test.csv", 2700),
        ("ethics_utilitarianism", "ethics/utilitarianism/util_test.csv", 4800),
        ("moralbench", "moralbench/moralbench.jsonl", 88),
    ],
)
def test_the_published_files(shared, name, path, rows):
    items = shared / "wvs_moral" / "question_metadata.json"
    _, examples = first(name, shared / path, *([f"items_path={items}"] if name == "wvs_moral" else []))
    assert len(examples) >= rows


def test_labels_of_a_majority(tmp_path):
    ethics, japanese = tmp_path / "cm.csv", tmp_path / "jcm.csv"
    ethics.write_text("label,input,is_short,edited\n0,I fed the cat.,True,False\n1,I kicked the cat.,True,False\n")
    _, found = first("ethics:commonsense", ethics)
    assert {e.text: e.counts for e in found} == {"I fed the cat.": (0, 1), "I kicked the cat.": (1, 0)}
    ethics.write_text("label,scenario,excuse\n1,Why are you late?,The bus was.\n")
    _, [one] = first("ethics:deontology", ethics)
    assert (one.text, one.counts) == ("Why are you late?\nThe bus was.", (1, 0))
    ethics.write_text('"I won, twice.",I won.\nI slept.,I fell.\n')
    _, found = first("ethics_utilitarianism", ethics)
    assert {e.options: e.counts for e in found} == {
        ("I won, twice.", "I won."): (1, 0),
        ("I slept.", "I fell."): (1, 0),
    }
    japanese.write_text(",sent,label\n0,猫を蹴った,1\n")
    _, [one] = first("jcommonsense_morality", japanese)
    assert dict(zip(one.options, one.counts, strict=True)) == {"許されない": 1, "許される": 0}


def test_points_of_moralbench(tmp_path):
    path = tmp_path / "moralbench.jsonl"
    row = {"id": "harm_1", "question": "Is it?\nA. Yes B. No", "human_answer_scores": {"A": 1.0, "B": 3.0}}
    path.write_text("".join(json.dumps({"set": s} | row) + "\n" for s in ("6_concepts", "MFQ_30")))
    _, found = first("moralbench", path)
    assert {e.id: e.counts for e in found} == {"6_concepts harm_1": (1, 3), "MFQ_30 harm_1": (1, 3)}


def test_pairs_of_moral_stories(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"norm": "Help.", "moral_action": "I helped.", "immoral_action": "I left."}) + "\n")
    flags = [f"--config.task.{flag}" for flag in (f"path={path}", "test=0", "validation=0")]
    [row] = load.load(parsing.from_flags(["--config=preferences/moral_stories", *flags]).task).train
    assert (row.text or row.messages[-1]["content"], row.options, row.counts) == (
        "Help.",
        ("I helped.", "I left."),
        (1, 0),
    )
