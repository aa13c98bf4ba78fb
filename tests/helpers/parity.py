"""Makes the table of families in docs/models.md from the tests that compare them with transformers. A pytest plugin.

    record_property("parity", ["Qwen3", "tiny", 520, 3.1e-6])

in a test is a row: family, weights, tokens that were compared, largest difference. `pytest tests/parity
--parity=docs/models.md` writes the rows of all tests that were run; other rows stay as they were.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

BEGIN, END = "<!-- families: written by tests/helpers/parity.py -->\n", "<!-- end of families -->\n"
HEADER = "| family | weights | tokens | largest difference |\n|---|---|---|---|\n"


class Row(NamedTuple):
    family: str
    weights: str
    tokens: int
    largest: float


def of_page(text: str) -> str:
    """Returns the part of the page that `table` makes."""
    return BEGIN + text.partition(BEGIN)[2].partition(END)[0] + END


def rows(text: str) -> list[Row]:
    """Returns the rows of the table on a page."""
    lines = of_page(text).removeprefix(BEGIN + HEADER).removesuffix(END).splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [Row(family, weights, int(tokens), float(largest)) for family, weights, tokens, largest in cells]


def table(found: list[Row]) -> str:
    """Formats the table in Markdown."""
    lines = (f"| {r.family} | {r.weights} | {r.tokens} | {r.largest:.1e} |\n" for r in found)
    return BEGIN + HEADER + "".join(lines) + END


class Results:
    """Collects rows; workers of pytest-xdist report here too."""

    def __init__(self, page: Path):
        self.page = page
        self.found: dict[tuple[str, str], Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.outcome == "passed":
            for name, value in report.user_properties:
                if name == "parity":
                    row = Row(*value)
                    self.found[row.family, row.weights] = row

    def pytest_sessionfinish(self) -> None:
        text = self.page.read_text(encoding="utf-8")
        kept = {(row.family, row.weights): row for row in rows(text)} | self.found
        page = text.replace(of_page(text), table(list(kept.values())))
        self.page.write_text(page, encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity", metavar="PAGE", type=Path, help="write the table of families into this page")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.parity and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config.option.parity))
