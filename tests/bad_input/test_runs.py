"""Tests run directories of unknown origin, and their pages."""

import json

import pytest

from tests.bad_input.refusal import Case, each
from tests.report.test_page import numbers, record

METRICS, RECORDS = "trained/metrics.json", "trained/test.jsonl"


def said(**changes):
    return json.dumps(numbers(0.6) | changes).encode()


def without(field):
    return json.dumps({k: v for k, v in numbers(0.6).items() if k != field}).encode()


def rows(**changes):
    return json.dumps(record(1, 0.4) | changes).encode() + b"\n"


CASES = (
    Case("numbers cut", (METRICS, said()[:-9]), METRICS, "not valid JSON"),
    Case("numbers that are a list", (METRICS, b"[]"), METRICS, "expected a JSON object"),
    Case("numbers nested 100,000 deep", (METRICS, b'{"a":' * 100_000), METRICS, "not valid JSON"),
    Case("numbers twice", (METRICS, b'{"split": "test", "split": "test"}'), "'split'", "appears twice"),
    Case("no split", (METRICS, without("split")), "'split' is missing", "score the rows again"),
    Case("no metrics", (METRICS, without("metrics")), "'metrics' is missing", "score the rows again"),
    Case("no yardsticks", (METRICS, without("yardsticks")), "'yardsticks' is missing", "score the rows again"),
    Case("a split elsewhere", (METRICS, said(split="../../../etc/passwd")), "split='../../../etc/passwd'", "test or"),
    Case("a split that is a list", (METRICS, said(split=["test"])), "split=['test']", "expected test or"),
    Case("metrics that are a list", (METRICS, said(metrics=[1])), "metrics", "score the rows again"),
    Case(
        "a metric in words", (METRICS, said(metrics={"cross_entropy": "low"})), "cross_entropy", "score the rows again"
    ),
    Case(
        "a metric without value",
        (METRICS, said(metrics={"cross_entropy": {"low": 1}})),
        "cross_entropy",
        "score the rows",
    ),
    Case(
        "yardsticks in words",
        (METRICS, said(yardsticks={"BEST": {"cross_entropy": "x"}})),
        "yardsticks",
        "score the rows",
    ),
    Case("groups that are a list", (METRICS, said(groups=[1])), "groups", "score the rows again"),
    Case("reliability in words", (METRICS, said(reliability=["x"])), "reliability", "score the rows again"),
    Case("rows in words", (METRICS, said(rows="many")), "rows='many'", "score the rows again"),
    Case("no records", (RECORDS, b""), RECORDS, "score the rows again"),
    Case("records cut", (RECORDS, rows() + rows()[:30]), f"{RECORDS}:2", "not valid JSON"),
    Case("a record without options", (RECORDS, rows(options=None)), f"{RECORDS}:1: no record", "score the rows again"),
    Case("a record without votes", (RECORDS, rows(counts=[])), "'counts': found []", "2 finite numbers"),
    Case("infinite votes", (RECORDS, rows(counts=[float("inf"), 1])), "'counts'", "2 finite numbers"),
    Case("no votes at all", (RECORDS, rows(counts=[0, 0])), "'counts': found [0, 0]", "score the rows again"),
    Case("a probability that is none", (RECORDS, rows(probabilities=[float("nan"), 1])), "'probabilities'", "2 finite"),
    Case("a probability too few", (RECORDS, rows(probabilities=[1])), "'probabilities': found [1]", "2 finite numbers"),
    Case("probabilities in words", (RECORDS, rows(probabilities=["a", "b"])), "'probabilities'", "2 finite numbers"),
    Case(
        "a votes' number of 5,000 digits", (RECORDS, b'{"counts": ' + b"1" * 5000 + b"}\n"), RECORDS, "not valid JSON"
    ),
    Case("a record that is a list", (RECORDS, b"[1]\n"), f"{RECORDS}:1", "expected a JSON object"),
    Case("records that are no text", (RECORDS, b"\xff\xfe\n"), f"{RECORDS}:1", "not valid JSON"),
    Case("a trace cut", ("metrics.jsonl", b'{"step": 1, "ki'), "metrics.jsonl:1", "not valid JSON"),
    Case("a trace without steps", ("metrics.jsonl", b'{"kind": "train", "loss": 1}\n'), "metrics.jsonl:1", "'step'"),
    Case("a config that is a list", ("config.json", b"[]"), "config.json", "expected a JSON object"),
    Case("a config that is no text", ("config.json", b"\x80"), "config.json", "not valid JSON"),
    Case("where it is from, cut", ("provenance.json", b'{"data": '), "provenance.json", "not valid JSON"),
    Case("where it is from, in words", ("provenance.json", b'{"data": "x"}'), "provenance.json", "'data'"),
    Case("a difference cut", ("comparison.json", b"{"), "comparison.json", "not valid JSON"),
    Case("a difference in words", ("comparison.json", b'{"cross_entropy": 1}'), "comparison.json", "cross_entropy"),
)


@pytest.fixture
def folder(tmp_path):
    """Writes a finished run; returns its folder."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"stages": ["initial", "trained"]}')
    for stage in ("initial", "trained"):
        (run / stage).mkdir(parents=True)
        (run / stage / "metrics.json").write_bytes(said())
        (run / stage / "test.jsonl").write_bytes(
            b"".join(json.dumps(record(i, 0.4)).encode() + b"\n" for i in range(5))
        )
    return run


@pytest.mark.fault("a run directory that is damaged or hostile", promise="one message, exit code 2")
@each(CASES)
def test_pages(case, refused, folder):
    name, content = case.given
    (folder / name).write_bytes(content)
    refused(case, "report", str(folder))


def test_the_run_that_the_others_are_changes_of(folder):
    from moral_jax.report import page

    assert page.write(folder).html.exists()
