"""Writes the card of a run, a questionnaire or a study: every number is a reference into its results.

The words stand in card.md.jinja, which holds no digit. A number reaches the card through `Results` alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from moral_jax.report import fairness, questionnaire
from moral_jax.report.page import environment
from moral_jax.report.study import tables as of_study
from moral_jax.report.words import LITTLE_MASS, STAGE_NAMES, Table, inert, interval, markdown, number, number_text, side
from moral_jax.runs import quantities
from moral_jax.runs.quantities import QUANTITIES, REPLIES, TEXTS
from moral_jax.runs.results import COMPARISON, FAIRNESS, FILES, METRICS, QUESTIONNAIRE, RUN, Results
from moral_jax.runtime import files, secrets
from moral_jax.runtime.strict_json import is_number, visible
from moral_jax.types import UserError

SHOWN = (*quantities.MAIN, "option_mass", "first_place_bias", "order_sensitivity")  # of votes; of others all
YARDSTICKS = {"best constant": "best constant", "BEST": "true shares, if known"}
NOTE = "Brackets are bootstrap intervals; the last column names the field in which a number stands."
CARD = "card.md"
MARK = "This card was filled by moral-jax"


class Facts(NamedTuple):
    """What a card says beside the numbers, each a text that was recorded or declared."""

    title: str
    about: str
    done: Sequence[str]
    used: Table
    licences: str
    obligations: Table
    publishing: str
    charter_title: str
    charter: Table | None
    missing: Sequence[str]
    licence: str | None  # of the weights, for the front matter; empty if none can be named, None without weights
    base_model: str
    datasets: Sequence[str]


def label(name: str) -> str:
    """Returns what a metric of a run is called."""
    for known in (QUANTITIES, TEXTS, REPLIES):
        if name in known:
            return known[name].label
    return name.removeprefix("reward/")


def metrics_of(results: Results) -> list[str]:
    """Returns the metrics of a run that its card shows, those that the last stage has."""
    found = results.file(f"{results.stages[-1]}/{METRICS}")
    known = [name for name, e in found["metrics"].items() if isinstance(e, dict) and is_number(e.get("value"))]
    return known if found.get("kind") else [name for name in SHOWN if name in known]


def _run_table(results: Results) -> Table:
    """Returns the metrics of every stage, what training changed, and yardsticks on the same rows."""
    stages, names = results.stages, metrics_of(results)
    last = f"{stages[-1]}/{METRICS}"
    change = results.file(COMPARISON) if results.has(COMPARISON) else {}
    yard = {key: words for key, words in YARDSTICKS.items() if key in results.file(last).get("yardsticks", {})}
    header = [
        "",
        *(STAGE_NAMES.get(s, s) for s in stages),
        *(["change"] if change else []),
        *yard.values(),
        "stands in",
    ]
    rows = []
    for name in names:
        said = [interval(results.file(f"{stage}/{METRICS}")["metrics"].get(name)) for stage in stages]
        changed = [interval(change.get(name))] if change else []
        beside = [results.file(last)["yardsticks"][key].get(name) for key in yard]
        by = ["" if value is None else number(value) for value in beside]
        rows.append([label(name), *said, *changed, *by, f"{last}:metrics.{name}"])
    return Table(header, rows)


def _better(name: str) -> str:
    known = next((of[name] for of in (QUANTITIES, TEXTS, REPLIES) if name in of), None)
    return known.better if known else quantities.HIGHER  # a reward


def _against(e: Any, name: str, words: tuple[str, str, str]) -> str:
    """Returns which of three words fits a difference: none clear, better, worse."""
    if not isinstance(e, dict) or "low" not in e:
        return ""
    moved = side(e) * (-1 if _better(name) == quantities.LOWER else 1)
    return words[moved]


def in_words(results: Results) -> list[str]:
    """Says what the numbers of a run hold, without any of them, and where they mean little."""
    if results.kind != RUN:
        return results_of(results)
    names, last = metrics_of(results), results.file(f"{results.stages[-1]}/{METRICS}")
    main = names[0] if names else ""
    change = results.file(COMPARISON).get(main) if results.has(COMPARISON) else None
    moved = ("made no clear difference to", "improved", "worsened")
    beside = ("cannot be told from", "is better than", "is worse than")
    constant = _against(last.get("against", {}).get("best constant"), main, beside)
    out = [f"Training {word} {label(main)}." if (word := _against(change, main, moved)) else ""]
    out.append(f"In {label(main)} it {constant} the best constant answer, which never reads a question." if constant
               else "")  # fmt: skip
    if not any("low" in last["metrics"][name] for name in names):
        out.append("The rows are too few for intervals.")
    mass = last["metrics"].get("option_mass")
    if isinstance(mass, dict) and mass["value"] < LITTLE_MASS:
        out.append("Hardly any probability lies on the options' tokens: these shares are those of rare answers.")
    return [sentence for sentence in out if sentence]


def results_of(results: Results) -> list[str]:
    """Returns what a tally has found, in its own sentences; nothing of a study."""
    return list(results.file(FILES[results.kind]).get("findings", []))


def numbers(results: Results) -> list[tuple[str, Table, str]]:
    """Returns the tables of a card with heading and note."""
    if results.kind == RUN:
        split = results.value(f"{results.stages[-1]}/{METRICS}:split")
        rows = number_text(results.number(f"{results.stages[-1]}/{METRICS}:rows"))
        return [("Numbers", _run_table(results), f"On {rows} {split} rows. {NOTE}"), *_fairness(results)]
    found = results.file(FILES[results.kind])
    if results.kind == QUESTIONNAIRE:
        return _questionnaire_tables(found)
    note = f"Numbers stand in {FILES[results.kind]}. Brackets are intervals over rows and seeds."
    full = [of_study.texts(task) if task.get("kind") else of_study.full(task) for task in found["tasks"]]
    return [(task["name"], table, note) for task, table in zip(found["tasks"], full, strict=True)]


def _fairness(results: Results) -> list[tuple[str, Table, str]]:
    """Returns the comparison of groups, if one was stated.

    Raises:
      UserError: the records are no longer those that were compared.
    """
    if not results.has(FAIRNESS):
        return []
    found = results.file(FAIRNESS)
    for name, sha256 in found["records"].items():
        if not results.has(name) or files.sha256(results.folder / name) != sha256:
            raise UserError(
                f"{results.folder / FAIRNESS}: {name} is no longer what it compares; compare again: moral-jax report "
                f"{results.folder} --statement=FILE, or remove it"
            )
    groups, gaps = fairness.tables(found, found["labels"])
    note = f"These stand in {FAIRNESS}. What each claims is on the page of the run."
    said = " ".join([note, *fairness.verdict(found, found["labels"])])
    return [("Groups", groups, note), ("Gaps between groups", gaps, said)]


def _questionnaire_tables(found: dict[str, Any]) -> list[tuple[str, Table, str]]:
    out = []
    note = f"Numbers stand in {FILES[QUESTIONNAIRE]}. Brackets are bootstrap intervals."
    for name in found.get("tables", {}):
        beside = questionnaire.beside_nulls(found, name)
        several = [(f"{name}: {who}", questionnaire.compact(found, name, who)) for who in found["respondents"]]
        for heading, table in [(name, beside)] if beside.rows else several:
            if table.rows:
                out.append((heading, table, note))
    return out


def _front(results: Results, facts: Facts) -> str:
    """Returns the front matter as YAML: licence, model, data sets, and the numbers of a run."""
    evaluated = []
    if results.kind == RUN:
        last = f"{results.stages[-1]}/{METRICS}"
        split = results.value(f"{last}:split")
        task = results.file("provenance.json").get("data", {}).get("task", "rows") if results.has("provenance.json") \
            else "rows"  # fmt: skip
        is_votes = not results.file(last).get("kind")
        for name in metrics_of(results):
            evaluated.append(EvalResult(
                task_type="text-classification" if is_votes else "text-generation", dataset_type=task,
                dataset_name=task, dataset_split=split, metric_type=name, metric_name=label(name),
                metric_value=results.value(f"{last}:metrics.{name}.value"),
            ))  # fmt: skip
    data = ModelCardData(
        license=None if facts.licence is None else facts.licence.lower() or "other",
        license_name="see-the-section-on-licences" if facts.licence == "" else None,
        base_model=facts.base_model or None,
        datasets=list(facts.datasets) or None,
        tags=["moral-jax"],
        model_name=facts.title if evaluated else None,
        eval_results=evaluated or None,
    )
    return data.to_yaml().strip()


def render(results: Results, facts: Facts) -> str:
    """Returns the card as Markdown with front matter, secrets redacted."""
    values: Mapping[str, Any] = facts._asdict() | {
        "folder": results.folder.resolve().name,
        "words": in_words(results),
        "numbers": numbers(results),
        "mark": MARK,
        "front": _front(results, facts),
        "markdown": markdown,
        "inert": inert,
    }
    text = environment(False).get_template("card.md.jinja").render(values)
    return secrets.redacted(visible(str(ModelCard(text))))
