"""Tests that the table of faults names exactly the tests that inflict them."""

import re
from pathlib import Path

from tests.helpers import reliability

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def test_the_page_has_every_marked_test_and_no_other():
    text = PAGE.read_text(encoding="utf-8")
    results = reliability.results(text)
    assert reliability.of_page(text) == reliability.table(reliability.rows(), results), (
        "docs/reliability.md is stale: pytest -m fault --reliability=docs/reliability.md"
    )
    bad = {test: result for test, result in results.items() if not re.fullmatch(r"(\d+ )?passed", result)}
    assert not bad, bad
