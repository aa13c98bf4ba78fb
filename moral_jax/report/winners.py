"""Writes the winners of a moral graph for use: a system prompt, lines of a rubric, preferences for a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moral_jax.runs.graph import Card
from moral_jax.runtime import files
from moral_jax.runtime.files import write_jsonl

PROMPT, RUBRIC, PAIRS = "system_prompt.txt", "rubric.jsonl", "pairs.jsonl"
ASKS = "{context}: what do you attend to before you answer?"


def system_prompt(contexts: Mapping[str, Any], cards: Mapping[str, Card]) -> str:
    """Returns what to attend to in each context that has a winner."""
    parts = ["What to attend to depends on the context."]
    for context, of in contexts.items():
        for winner in of["winners"]:
            parts.append(f"{context}: {cards[winner].title}\n" + "\n".join(f"- {p}" for p in cards[winner].policies))
    return "\n\n".join(parts) if len(parts) > 1 else "No context has a winner."


def rubric(contexts: Mapping[str, Any], cards: Mapping[str, Card]) -> list[dict[str, str]]:
    """Returns a criterion for each policy of each winner."""
    return [
        {"id": f"{context} / {winner} / {i}", "context": context, "card": winner, "criterion": policy}
        for context, of in contexts.items()
        for winner in of["winners"]
        for i, policy in enumerate(cards[winner].policies, 1)
    ]


def pairs(contexts: Mapping[str, Any], cards: Mapping[str, Card]) -> list[dict[str, Any]]:
    """Returns a preference for each kept edge of a context: the wiser card's policies first, the votes for either."""
    said = {name: "I attend to:\n" + "\n".join(f"- {p}" for p in card.policies) for name, card in cards.items()}
    return [
        {
            "id": f"{context} / {e['from']} > {e['to']}",
            "prompt": ASKS.format(context=context),
            "completions": [said[e["to"]], said[e["from"]]],
            "counts": [e["wiser"], e["back"]],
        }
        for context, of in contexts.items()
        for e in of["edges"]
        if e["kept"] and said[e["to"]] != said[e["from"]]
    ]


def write(folder: Path, contexts: Mapping[str, Any], cards: Sequence[Card]) -> str:
    """Writes all three files into a folder; returns the system prompt."""
    by_id = {card.id: card for card in cards}
    prompt = system_prompt(contexts, by_id)
    files.write_bytes(folder / PROMPT, f"{prompt}\n".encode())
    write_jsonl(folder / RUBRIC, rubric(contexts, by_id))
    write_jsonl(folder / PAIRS, pairs(contexts, by_id))
    return prompt
