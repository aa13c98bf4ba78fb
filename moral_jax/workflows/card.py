"""Fills the card of a run, a questionnaire, a study or a set of rows, from what was recorded and measured."""

from collections.abc import Sequence
from pathlib import Path

from moral_jax.report import card as page
from moral_jax.report.words import Table, interval, number_text
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runs.results import FAIRNESS, FILES, QUESTIONNAIRE, RUN, STUDY, Results
from moral_jax.runtime import files
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks import charter as charters
from moral_jax.tasks import licences
from moral_jax.tasks.charter import AT_MOST, Charter, Clause
from moral_jax.tasks.sets import HUB
from moral_jax.types import UserError
from moral_jax.workflows import documents
from moral_jax.workflows.documents import MODEL, TRAIN, Used

MET, NOT_MET, NO_EVIDENCE = "met", "not met", "no evidence"


def judged(clause: Clause, results: Results) -> str:
    """Returns whether a clause is met: the number, or the whole of its interval, is within the bound.

    Raises:
      UserError: the results have no such number; names file and field.
    """
    if clause.none:
        return NO_EVIDENCE
    found = results.value(clause.results)
    value = results.number(clause.results)
    ends = {"low", "high"}
    is_interval = isinstance(found, dict) and all(is_number(found.get(end)) for end in ends)
    worst = value if not is_interval else found["high" if clause.kind == AT_MOST else "low"]
    holds = worst <= clause.bound if clause.kind == AT_MOST else worst >= clause.bound
    return MET if holds else NOT_MET


def _charter_table(charter: Charter, results: Results) -> Table:
    rows = []
    for clause in charter.clauses:
        try:
            verdict = judged(clause, results)
        except UserError as e:
            raise UserError(f"{charter.path}: [[clauses]] {clause.id}: evidence: results: {e}") from None
        if clause.none:
            rows.append([clause.id, clause.text, "", "", verdict, clause.none])
            continue
        found = results.value(clause.results)
        value = interval(found if isinstance(found, dict) else {"value": found})
        bound = f"{clause.kind.replace('_', ' ')} {clause.bound:g}"
        rows.append([clause.id, clause.text, value, bound, verdict, clause.results])
    return Table(["clause", "what is promised", "number", "bound", "is", "stands in, or why there is none"], rows)


def used_table(used: Sequence[Used]) -> Table:
    """Returns what was used, with its terms."""
    personal = {True: "yes", False: "no", None: "not said"}
    rows = [
        [o.name, o.use, o.known.said, ", ".join(n for n in licences.CLASSES if n in o.known.classes), o.source,
         o.citation, o.version, personal[o.personal_data] if o.use in ("train", "test") else "", o.collected]
        for o in used
    ]  # fmt: skip
    return Table(
        ["name", "used as", "licence", "asks", "source", "cite", "version", "personal data", "collected"], rows
    )


def obligations_table(used: Sequence[Used]) -> Table:
    """Returns what licences ask of the weights, and for which sets and models."""
    rows = [[name, "; ".join(of)] for name, of in documents.obligations(used).items()]
    return Table(["asked", "by"], rows)


def publishing(used: Sequence[Used], by_name: dict[str, str], *, is_trained: bool) -> str:
    """Says whether the weights may be published, as far as the records know."""
    if not is_trained:
        return "No weights lie here, so there is nothing to publish. Those of a study are in the runs of its cells."
    refused = documents.left(used, by_name)
    by = [f"{o.name} ({o.known.said})" for o in documents.forbidding(used) if o not in refused]
    word = f" A person has accepted by name: {'; '.join(by)}." if by else ""
    if not refused:
        kept = ", if the obligations above are kept" if documents.obligations(used) else ""
        return f"Nothing recorded forbids publishing the weights{kept}.{word}"
    named = "; ".join(f"{o.name}: {o.known.said}, {', '.join(o.known.forbidding)}" for o in refused)
    return f"The weights may not be published as they are: {named}.{word}"


def _done(results: Results) -> list[str]:
    """Says what was done, of what is recorded."""
    if results.kind == STUDY:
        return [f"{cell['name']}: {cell['state']}" for cell in results.file(FILES[STUDY])["cells"]]
    if results.kind != RUN:
        about = results.file(documents.ABOUT) if results.has(documents.ABOUT) else {}
        return [f"{who}: {said.get('about', {}).get('path', '')}" for who, said in about.get("respondents", {}).items()]
    config, began = read_config(results.folder), origin.read(results.folder)
    data, model = began.get("data", {}), began.get("model", {})
    rows = ", ".join(f"{split} {number_text(count)}" for split, count in data.get("rows", {}).items())
    out = [f"Rows: {data.get('description', 'not recorded')} ({rows})", f"Model: {model.get('path', 'not recorded')}"]
    if RunDirectory(results.folder).is_trained:
        out.append(f"Trained with the objective {config.objective.name}; adapters: {config.adapter.kind}")
    else:
        out.append("Nothing was trained")
    versions = ", ".join(f"{name} {version}" for name, version in began.get("versions", {}).items())
    device = began.get("device", {})
    on = f", on {number_text(device['count'])} {device['kind']}" if {"count", "kind"} <= device.keys() else ""
    return [*out, f"Computed with {versions or 'versions that were not recorded'}{on}"]


def _missing(used: Sequence[Used], charter: Charter | None, results: Results, *, is_trained: bool) -> list[str]:
    """Names what nobody measured or said."""
    out = ["Whatever stands in no table above."]
    if charter is None:
        out.append("Charter: none was given.")
    if results.kind == RUN and not results.has(FAIRNESS):
        out.append("Fairness between groups: no statement was given, so nothing is claimed.")
    if results.kind == RUN:
        out.append("Whether the model had seen the test rows before: not measured.")
    if is_trained:
        out.append("What another seed would change: a run has one.")
    silent = [o.name for o in used if o.use in ("train", "test") and o.personal_data is None]
    if silent:
        out.append(f"Whether there is personal data, and how it was collected: not said for {', '.join(silent)}.")
    return out


def _licence(used: Sequence[Used]) -> str:
    """Returns the licence that the front matter names: the one of all that binds, if it is one and asks nothing."""
    found = {o.known.expression for o in documents.binding(used)}
    plain = all(o.known.classes == {licences.PERMISSIVE} for o in documents.binding(used))
    return found.pop() if len(found) == 1 and plain else ""


def facts(results: Results, used: Sequence[Used], charter: Charter | None) -> page.Facts:
    """Returns what a card says beside its numbers."""
    is_trained = results.kind == RUN and RunDirectory(results.folder).is_trained
    about = results.file(documents.ABOUT) if results.kind == QUESTIONNAIRE and results.has(documents.ABOUT) else {}
    data = origin.read(results.folder).get("data", {}) if results.kind == RUN else {}
    title = about.get("title") or results.folder.resolve().name
    models = [o.name for o in used if o.use == MODEL and o.name.count("/") == 1 and ":" not in o.name]
    names = [o.source.removeprefix(HUB) for o in used if o.use == TRAIN and o.source.startswith(HUB)]
    if results.kind == STUDY:
        title = results.file(FILES[results.kind]).get("title", title)
    return page.Facts(
        title=title,
        about=about.get("about") or data.get("description") or "",
        done=_done(results),
        used=used_table(used),
        licences="What the licences of data and models ask of whoever publishes the weights:"
        if documents.obligations(used) else "The licences recorded ask for nothing but their notices.",
        obligations=obligations_table(used),
        publishing=publishing(used, documents.accepted(results.folder), is_trained=is_trained),
        charter_title=charter.title if charter else "",
        charter=_charter_table(charter, results) if charter else None,
        missing=_missing(used, charter, results, is_trained=is_trained),
        licence=_licence(used) if is_trained else None,
        base_model=models[0] if models else "",
        datasets=list(dict.fromkeys(names)),
    )  # fmt: skip


def text_of(
    folder: Path, charter: Path | None = None, data: Path | None = None, base_licence: str | None = None,
    *, demands: bool = True,
) -> str:  # fmt: skip
    """Returns the card of a directory of results.

    Args:
      data, base_licence: as of `documents.collect`.
      demands: true if a licence that nobody has recorded is an error; otherwise the card says that it is unknown.

    Raises:
      UserError: a licence is missing, a clause has no evidence, or a number is not in the results; names file and
        field.
    """
    results = Results(folder)
    used = documents.collect(results, data, base_licence)
    if demands:
        documents.demand(used)
    return page.render(results, facts(results, used, charters.read(charter) if charter else None))


def beside_weights(folder: Path, charter: Path | None, data: Path | None, base_licence: str | None) -> str | None:
    """Returns the card that an export puts beside the weights: licences that nobody has recorded are unknown there.
    None for a run that was never scored.

    Raises:
      UserError: as of `text_of`; or something is declared for a card that cannot be.
    """
    if Results(folder).stages:
        return text_of(folder, charter, data, base_licence, demands=False)
    if given := [path for path in (charter, data, base_licence) if path]:
        raise UserError(f"{given[0]}: is for a card, and {folder} has none: no stage was scored")
    return None


def save(path: Path, text: str) -> Path:
    """Writes a card; raises UserError if something that is no card stands there."""
    if path.exists() and page.MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path}: holds something that is no card of moral-jax; pass --out=ANOTHER")
    with files.atomic_writer(path) as file:
        file.write(text)
    return path
