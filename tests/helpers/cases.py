"""Cases that tests write, and deciding them as a person would."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.cli import main

GOLDEN = {
    "p": [[0.8, 0.3], [0.2, 0.9]], "w": [[1, 0.5], [0.5, 1]], "c": [0.7, 0.3],
    "u": [[1, -1], [-0.2, 0.6], [0.2, 0.2]],
}  # fmt: skip


def _inline(names: list[str], values: Any) -> str:
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in zip(names, values, strict=True)) + "}"


def toml(p: Any, w: Any, c: Any, u: Any, observed: Any = None, choice: str = "", flip: bool = False) -> str:
    """Returns a CASE.toml: prescripts e0.. in contexts c0.., actions a0..

    Args:
      p: P, [I, J]; None if the file does not say.
      observed: [I, J, 2], in place of p.
      flip: write all tables in the other order.
    """
    contexts, prescripts = [f"c{j}" for j in range(len(c))], [f"e{i}" for i in range(len(w))]
    tables = [f'[[contexts]]\nid = "c{j}"\ntext = "Context {j}."\nprobability = {c_j}' for j, c_j in enumerate(c)]
    for i, w_J in enumerate(w):
        said = f"relevance = {_inline(contexts, p[i])}" if p is not None else ""
        said = f"observed = {_inline(contexts, observed[i])}" if observed is not None else said
        lines = ["[[prescripts]]", f'id = "e{i}"', f'text = "Do {i}."', f"weights = {_inline(contexts, w_J)}", said]
        tables.append("\n".join(lines))
    for a, u_I in enumerate(u):
        tables.append(f'[[actions]]\nid = "a{a}"\ntext = "Action {a}."\nutilities = {_inline(prescripts, u_I)}')
    return f"[choice]\n{choice}\n\n" + "\n\n".join(tables[::-1] if flip else tables) + "\n"


def decide(folder: Path, text: str, *flags: str) -> dict[str, dict[str, Any]]:
    """Runs `moral-jax decide`, and returns the decisions by source; asserts that it went well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.toml").write_text(text)
    assert main.main(["decide", str(folder / "case.toml"), f"--out={folder / 'out'}", *flags]) == 0
    return json.loads((folder / "out" / "decision.json").read_text())["decisions"]


def p_of(found: dict[str, Any], prescripts: int, contexts: int) -> np.ndarray:
    """Returns the P that a decision used, [I, J]."""
    p_IJ = np.full((prescripts, contexts), np.nan)
    for t in found["trace"]:
        p_IJ[int(t["prescript"][1:]), int(t["context"][1:])] = t["p"]
    return p_IJ
