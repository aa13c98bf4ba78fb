"""The table of families in docs/models.md is that of the tests."""

from pathlib import Path

import pytest

from tests.helpers import parity

pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
families = pytest.importorskip("tests.helpers.families")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
REAL = {
    ("SmolLM2-135M-Instruct (Q4_1)", "real, in float64"),
    ("MiniLM-L6-v2", "real"),
}


def test_the_page_lists_every_family():
    tiny = {*families.DECODERS, *families.VARIANTS, *families.ENCODERS, "BERT", "RoBERTa"}
    scaled = {f"Llama with {kind} rotary scaling" for kind in families.ROPES}
    found = [row for row in parity.rows(PAGE.read_text(encoding="utf-8")) if not row.family.startswith("Gemma 3 270M")]
    assert {(row.family, row.weights) for row in found} == {(family, "tiny") for family in tiny | scaled} | REAL, (
        "docs/models.md is stale: pytest -p no:xdist tests/parity --parity=docs/models.md"
    )
    assert all(0 < row.largest <= 1e-4 for row in found)
    assert all(row.tokens >= 500 for row in found if row.weights == "tiny")


def test_a_page_comes_back(tmp_path):
    rows = [parity.Row("Qwen3", "tiny", 520, 2.5e-6), parity.Row("A", "real", 7, 1e-5)]
    page = f"before\n\n{parity.table(rows)}\nafter\n"
    assert parity.rows(page) == rows
    assert page.replace(parity.of_page(page), parity.table(rows[:1])).endswith(f"{parity.END}\nafter\n")
