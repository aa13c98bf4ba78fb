"""Fills the card of a set of rows: what its data.toml declares, and what was counted in it."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from moral_jax.report.card import CARD, MARK
from moral_jax.report.page import environment
from moral_jax.report.words import Table, inert, markdown, number_text
from moral_jax.runs.results import Results
from moral_jax.runtime import files, secrets
from moral_jax.runtime.strict_json import visible
from moral_jax.tasks import declared, known, licences, reading, tables
from moral_jax.tasks.declared import Declared
from moral_jax.tasks.rows import Columns
from moral_jax.types import UserError
from moral_jax.workflows import card

COUNTED = "card.json"


def _declared(path: Path, data: Path | None) -> Declared:
    found = declared.read(data, path.name) if data else declared.beside(path)
    if found is None:
        folder = path if path.is_dir() else path.parent
        raise UserError(f"{folder / declared.FILE}: licence: no such file; declare the rows there, or pass --data=FILE")
    declared.check_hash(found, path)
    return found


def _counted(path: Path) -> dict[str, object]:
    """Returns what was counted: rows, those that cannot be read, columns, and the hash of every file."""
    columns = Columns()
    opened = reading.opened(str(path), columns)
    readable = [not isinstance(row, UserError) for row in opened.rows]
    return {
        "rows": sum(readable),
        "rows that cannot be read": len(readable) - sum(readable),
        "columns": list(columns.names),
        "sha256": opened.hashes(),
    }


def write(path: Path, data: Path | None, out: Path | None) -> Path:
    """Writes the card of a file or folder of rows, and the numbers that it shows beside it.

    Args:
      data: a data.toml; default: the one beside the rows.
      out: default: NAME.card.md beside a file, card.md in a folder.

    Raises:
      UserError: nothing is declared, the licence is no SPDX expression, or no row can be read; names file and field.
    """
    said = _declared(path, data)
    try:
        licence = licences.parse(said.licence)
    except UserError as e:
        raise UserError(f"{said.where}: licence: {e}") from None
    tables.files_of(path)  # before anything is written
    out = out or (path / CARD if path.is_dir() else path.with_name(f"{path.name}.{CARD}"))
    results = Results(out.parent)
    numbers = out.with_name(f"{out.stem}.json" if out.stem.endswith("card") else f"{out.stem}.{COUNTED}")
    results.read[numbers.name] = _counted(path)
    counted = [
        [key, number_text(results.number(f"{numbers.name}:{key}"))] for key in ("rows", "rows that cannot be read")
    ]
    counted.append(["columns", ", ".join(results.value(f"{numbers.name}:columns"))])
    counted += [[f"hash of {Path(k).name}", v] for k, v in results.file(numbers.name)["sha256"].items()]
    facts = [
        ["licence", licence.said], ["source", said.source], ["cite", said.citation], ["version", said.version],
        ["use", said.use], ["personal data", "yes" if said.personal_data else "no"], ["collected", said.collected],
    ]  # fmt: skip
    front = DatasetCardData(license=licence.expression.lower(), pretty_name=said.name, tags=["moral-jax"]).to_yaml()
    values = {
        "front": front.strip(), "said": said, "mark": MARK, "declared": Path(said.where.partition(": ")[0]).name,
        "facts": Table(["declared", ""], facts), "counted": Table(["counted", ""], counted),
        "asked": f"A published checkpoint may be trained on it: {known.may_train(licence)}. The rows may be passed on: "
                 f"{known.may_ship(licence)}. They may be tested on: {known.may_test(licence)}.",
        "results": numbers.name, "markdown": markdown, "inert": inert,
    }  # fmt: skip
    text = environment(False).get_template("data_card.md.jinja").render(values)
    card.save(out, secrets.redacted(visible(str(DatasetCard(text)))))
    files.write_json(numbers, results.file(numbers.name))
    return out
