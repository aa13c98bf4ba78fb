"""Runs with documents: rows with a data.toml beside them, and a run as training leaves it, without training."""

import json
import shutil
from pathlib import Path

from moral_jax.cli import main

DATA = {
    "name": "Panel votes",
    "version": "2026-03",
    "licence": "CC-BY-4.0",
    "source": "https://example.org/panel",
    "citation": "Panel team (2026)",
    "use": "train",
    "personal_data": False,
    "collected": "Web form, consent by click",
}


def toml(values: dict) -> str:
    """Returns flat values as TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def declare(folder: Path, **changes: object) -> Path:
    """Writes a data.toml; a change to None leaves a key out."""
    file = folder / "data.toml"
    file.write_text(toml({k: v for k, v in (DATA | changes).items() if v is not None}))
    return file


def write_rows(folder: Path, count: int = 40) -> Path:
    """Writes rows with two options, votes and a group."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"id": f"row {i}", "question": f"Is act {i} wrong?", "options": ["yes", "no"],
         "counts": [1 + i % 4, 4 - i % 4], "country": "ab"[i % 2]}
        for i in range(count)
    ]  # fmt: skip
    file = folder / "votes.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def evaluate(file: Path, out: Path, *flags: str, model: str = "scripted:first") -> Path:
    """Has a scripted respondent answer, and returns the run."""
    flags = ("--config.task.name=votes", "--config.task.fields.group={country}", "--config.eval.bootstrap=100",
             "--config.eval.best_draws=10", *flags)  # fmt: skip
    assert main.main(["eval", f"--model={model}", f"--config.task.path={file}", f"--out={out}", *flags]) == 0
    return out


def as_trained(run: Path, licence: str | None = "apache-2.0", model: str = "made/up") -> Path:
    """Makes an evaluation look like a run that has trained: with stages before and after, and a local model."""
    shutil.copytree(run / "answers", run / "initial")
    (run / "answers").rename(run / "trained")
    (run / "checkpoints").mkdir()
    (run / "run.json").write_text('{"stages": ["initial", "trained"]}')
    edit(run / "config.json", lambda c: c["respondent"].update(kind="local", name=None))
    edit(run / "config.json", lambda c: c["model"].update(path=model))
    edit(run / "provenance.json", lambda p: p.update(model={"path": model, "licence": licence}))
    return run


def edit(file: Path, change) -> None:
    """Changes a JSON file."""
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def trained(folder: Path, of_model: str | None = "apache-2.0", **declared: object) -> Path:
    """Returns a run that looks trained, on rows that are declared."""
    file = write_rows(folder / "rows")
    declare(folder / "rows", **declared)
    return as_trained(evaluate(file, folder / "run"), of_model)
