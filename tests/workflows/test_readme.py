"""Tests the README's way from a spreadsheet of ratings to a trained model and a page, with a tiny model."""

import re
import shlex
from pathlib import Path

import pytest

from moral_jax.cli import main

README = Path(__file__).resolve().parents[2] / "README.md"
SECTION = re.compile(r"## Your own votes\n.*?```sh\n(.*?)```", re.DOTALL)


def commands() -> list[list[str]]:
    """Returns the commands of the README's section, without the name of the program."""
    [block] = SECTION.findall(README.read_text())
    lines = block.replace("\\\n", " ").strip().splitlines()
    words = [shlex.split(line) for line in lines]
    assert [w[:2] for w in words] == [["moral-jax", "data"], ["moral-jax", "train"]]
    return [w[1:] for w in words]


@pytest.mark.usefixtures("two_devices")
def test_from_a_spreadsheet_of_ratings_to_a_page(tmp_path, tiny_folder, monkeypatch, capsys):
    rows = [
        f"{item},p{person},She took thing {item}.,{'wrong' if person <= item % 4 else 'fine'},x"
        for item in range(40)
        for person in range(5)
    ]
    (tmp_path / "ratings.csv").write_text("item,person,text,label,gender\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    look, train = commands()
    model = f"--config.model.path={tiny_folder}"
    assert main.main([*look, model]) == 0
    shown = capsys.readouterr().out
    assert "rows: train 28, validation 4, test 8" in shown
    assert "votes per row: 5 to 5" in shown
    assert "read from 'A' or ' A': wrong" in shown
    quick = ["--config.eval.bootstrap=100", "--config.eval.best_draws=10", "--config.train.epochs=1"]
    assert main.main([*train, model, *quick]) == 0
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert "She took thing" in page
    assert "after fine-tuning" in page
