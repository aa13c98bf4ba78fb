"""Counts the bad inputs in the tables."""

import importlib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = [p.stem for p in sorted(HERE.glob("test_*.py"))]


def test_there_are_at_least_200_different_ones():
    tables = {name: getattr(importlib.import_module(f"tests.bad_input.{name}"), "CASES", ()) for name in MODULES}
    given = Counter((name, repr(case.given)) for name, cases in tables.items() for case in cases)
    assert not [name for (name, _), count in given.items() if count > 1]
    assert len(given) >= 200, {name: len(cases) for name, cases in tables.items()}


def test_every_case_names_a_place_and_a_remedy():
    for name in MODULES:
        for case in getattr(importlib.import_module(f"tests.bad_input.{name}"), "CASES", ()):
            assert case.name, (name, case)
            assert case.place, (name, case)
            assert case.remedy, (name, case.name)
