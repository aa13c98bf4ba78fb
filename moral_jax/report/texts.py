"""Writes the page of a run on texts: likelihoods, preferences, lengths, and the most surprising rows."""

from pathlib import Path
from typing import Any

from moral_jax.report import checks, plots
from moral_jax.report.source import Source, read_named
from moral_jax.report.words import STAGE_NAMES, Table, interval, side
from moral_jax.runs.quantities import TEXTS
from moral_jax.runs.text_records import read_text_jsonl

SHOWN = 600  # characters of a text
MAIN = ("nll_per_token", "perplexity", "likelihood_accuracy", "reward_accuracy", "reward_margin")


def read(folder: Path) -> Source:
    """Reads the files of a run on texts; raises UserError if a file is not what a run writes."""
    return read_named(folder, checks.text_metrics, read_text_jsonl)


def _known(source: Source, names: tuple[str, ...]) -> list[str]:
    return [m for m in names if any(stage.value(m) for stage in source.stages)]


def main_table(source: Source) -> Table:
    """Returns the main numbers: a row for each stage."""
    names = _known(source, MAIN)
    rows = [[STAGE_NAMES[s.name], *(interval(s.value(m)) for m in names)] for s in source.stages]
    return Table(["", *(TEXTS[m].label for m in names)], rows)


def more_table(source: Source) -> Table:
    """Returns the other numbers, one a row."""
    header = ["", *(STAGE_NAMES[s.name] for s in source.stages)]
    names = _known(source, tuple(m for m in TEXTS if m not in MAIN))
    return Table(header, [[TEXTS[m].label, *(interval(s.value(m)) for s in source.stages)] for m in names])


def group_tables(source: Source) -> list[Table]:
    """Returns a table per kind of subset: rows, perplexity of each stage, and the accuracies of the last."""
    out = []
    for kind, named in source.last.numbers["groups"].items():
        accuracies = [m for m in ("likelihood_accuracy", "reward_accuracy") if any(m in of for of in named.values())]
        rows = []
        for name, last in named.items():
            of_stages = [s.numbers["groups"].get(kind, {}).get(name, {}).get("perplexity") for s in source.stages]
            known = [interval(e) for e in of_stages] + [interval(last.get(m)) for m in accuracies]
            rows.append([name, str(last["rows"]), *known])
        stages = [f"perplexity {STAGE_NAMES[s.name]}" for s in source.stages]
        out.append(Table([kind, "rows", *stages, *(TEXTS[m].label for m in accuracies)], rows))
    return out


def verdict(source: Source) -> list[str]:
    """Says in sentences what the table holds, and no more."""
    last, rows = source.last, source.last.numbers["rows"]
    scope = f"On {rows} {last.numbers['split']} rows"
    parts = []
    if accuracy := last.value("reward_accuracy" if last.value("reward_accuracy") else "likelihood_accuracy"):
        what = "has the higher reward" if last.value("reward_accuracy") else "is likelier"
        parts.append(f"{scope} the chosen text {what} in {interval(accuracy)} of the rows{_against_chance(accuracy)}.")
    d, e = source.comparison.get("nll_per_token"), last.value("nll_per_token")
    assert e is not None, "checked"
    if d is None or "low" not in d:
        parts.append(f"{scope if not parts else 'There'} a token of the chosen texts costs {interval(e)} nats.")
        return parts
    change = f"({d['value']:+.3f} nats a token, 95 % interval {d['low']:+.3f} to {d['high']:+.3f})"
    moved = side(d)
    if not last.numbers["compared"]:
        words_of = ("no clear difference to", "the texts less likely", "the texts likelier")[moved]
        lead = "made no clear difference to how likely the texts are" if not moved else f"made {words_of}"
        parts.append(f"Training {lead} {change}.")
    elif moved > 0:
        parts.append(
            f"The chosen texts themselves became less likely {change}, as in most runs on preferences. Fewer steps, a "
            f"larger beta, or an objective with a part on their likelihood (orpo) hold them up."
        )
    else:
        became = "became likelier" if moved else "stayed about as likely"
        parts.append(f"The chosen texts themselves {became} {change}.")
    return parts


def _against_chance(accuracy: dict[str, float]) -> str:
    if "low" not in accuracy:
        return ", too few rows to judge"
    if accuracy["low"] > 0.5:
        return ", more often than by chance"
    return ", less often than by chance" if accuracy["high"] < 0.5 else ", no better than chance"


def surprises(source: Source) -> list[dict[str, Any]]:
    """Returns the rows whose chosen texts are least likely per token, with their texts shortened."""
    out = []
    for name in source.last.numbers["surprising"]:
        record = source.last.records[name]
        prompt = record["prompt"]
        turns = prompt if isinstance(prompt, list) else [{"role": "prompt", "content": prompt}] if prompt else []
        texts = [
            {"text": text[:SHOWN], "votes": votes, "nll": -logp / max(tokens, 1), "tokens": tokens}
            for text, votes, logp, tokens in zip(
                record["texts"], record["counts"], record["logp"], record["tokens"], strict=True
            )
        ]
        out.append({"id": name, "turns": [t | {"content": t["content"][-SHOWN:]} for t in turns], "texts": texts})
    return out


def values(source: Source) -> dict[str, Any]:
    """Returns what the templates read, beside what all pages have."""
    return {
        "verdict": verdict(source),
        "main": main_table(source),
        "more": more_table(source),
        "groups": group_tables(source),
        "surprises": surprises(source),
        "curves": plots.curves(source),
        "of_training": plots.lines(source, ("margin", "chosen_logp", "rejected_logp")),
    }
