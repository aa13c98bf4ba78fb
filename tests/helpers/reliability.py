"""Makes the matrix of faults in docs/reliability.md from the tests that inflict them. A pytest plugin.

    @pytest.mark.fault("SIGTERM in the middle of a step", promise="finishes the step, saves, exits with 0")

marks a test. `pytest -m fault --reliability=docs/reliability.md` writes the results of all marked tests. Rows of tests
that are not run stay as they were.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- the matrix: written by tests/helpers/reliability.py -->\n", "<!-- end of the matrix -->\n"
HEADER = "| fault | promise | test | result |\n|---|---|---|---|\n"


class Row(NamedTuple):
    """A marked test; one row for all its parameters."""

    fault: str
    promise: str
    test: str  # path::function, from the root of the project


def _marks(node: ast.FunctionDef, test: str) -> Iterator[Row]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
            said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
            yield Row(ast.literal_eval(mark.args[0]), said["promise"], test)


def rows(folder: Path = HERE) -> list[Row]:
    """Returns all marked tests below a folder. Reads their source, as both texts of a mark are literals."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        name = path.relative_to(folder.parent).as_posix()
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        found += [row for node in functions for row in _marks(node, f"{name}::{node.name}")]
    return found


def table(found: list[Row], results: dict[str, str]) -> str:
    """Formats the matrix in Markdown; `results` are by test."""

    def line(row: Row) -> str:
        return (
            "| "
            + " | ".join(cell.replace("|", "\\|") for cell in (row.fault, row.promise))
            + (f" | `{row.test}` | {results.get(row.test, 'not run')} |\n")
        )

    return BEGIN + HEADER + "".join(map(line, found)) + END


def of_page(text: str) -> str:
    """Returns the part of the page that `table` makes."""
    return BEGIN + text.partition(BEGIN)[2].partition(END)[0] + END


def results(text: str) -> dict[str, str]:
    """Returns the result of each test on the page."""
    lines = of_page(text).removeprefix(BEGIN + HEADER).removesuffix(END).splitlines()
    return {line.split("`")[-2]: line.split("|")[-2].strip() for line in lines}


class Results:
    """Collects the result of every test of a session; workers of pytest-xdist report here too."""

    def __init__(self, page: Path):
        self.page = page
        self.outcomes: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            test = report.nodeid.partition("[")[0]
            self.outcomes.setdefault(test, Counter())[report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        said = {test: self._said(count) for test, count in self.outcomes.items()}
        text = self.page.read_text(encoding="utf-8")
        self.page.write_text(text.replace(of_page(text), table(rows(), results(text) | said)), encoding="utf-8")

    def _said(self, count: Counter[str]) -> str:
        if count.total() == 1:
            return next(iter(count))
        return ", ".join(f"{n} {outcome}" for outcome, n in sorted(count.items()))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", metavar="PAGE", type=Path, help="write the matrix of faults into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, promise=...): a row of the matrix in docs/reliability.md")
    if config.option.reliability and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config.option.reliability))
