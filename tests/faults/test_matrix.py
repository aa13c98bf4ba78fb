"""The page that says which faults are inflicted names the tests that inflict them."""

from pathlib import Path

from tests import reliability

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def test_the_page_has_every_marked_test_and_no_other():
    found, text = reliability.rows(), reliability.of_page(PAGE.read_text(encoding="utf-8"))
    lines = text.splitlines()[3:-1]
    results = {line.split("`")[-2]: line.split("|")[-2].strip() for line in lines}
    assert reliability.table(found, results) == text, (
        "docs/reliability.md is stale: pytest -m fault --reliability=docs/reliability.md"
    )
    assert all(result.endswith("passed") and "," not in result for result in results.values()), results
