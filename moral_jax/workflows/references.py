"""The reference column: log-probabilities of texts under the weights that a stage begins with.

They are computed once, by the scorer, before the first step, so that training holds one model and not two. With fresh
adapters these weights are the model without adapters; with adapters from a stage before, they are the model with these.
A run keeps them in RUN/columns/reference.npz by the hash of a text, with a hash of the weights: any order of the rows
finds them again, and other weights do not.
"""

import hashlib
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.data.layout import Questions, Shape
from moral_jax.models import api
from moral_jax.respondents.local import Scoring
from moral_jax.runs.text_records import Likelihoods
from moral_jax.runtime import distributed
from moral_jax.runtime.console import info
from moral_jax.runtime.files import storage_errors
from moral_jax.types import REFERENCE, Params, UserError
from moral_jax.workflows.local_model import InitialParams

# Root mean square over the texts of a batch of a text's difference over the root of its tokens, in nats: two programs
# round differently, and independently from token to token
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}


def _text_hash(tokens_T: np.ndarray, reads_T: np.ndarray) -> str:
    return hashlib.sha256(tokens_T.tobytes() + np.packbits(reads_T).tobytes()).hexdigest()


def _hashes(questions: Questions) -> list[list[str]]:
    """Returns the hash of every text of every entry."""
    return [[_text_hash(t.tokens_T, t.reads_T) for t in e.texts if t.reads_T is not None] for e in questions.encoded]


def _weights_key(about: dict[str, Any], model: api.Model) -> str:
    """Returns what tells weights and their arithmetic from others."""
    how = model.compute
    said = [about.get("sha256"), about.get("settings_sha256"), model.quantize, how.dtype, how.product_dtype]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _read(file: Path, key: str) -> dict[str, float]:
    """Returns the stored values of these weights by text; none if the file is missing, damaged or of other weights."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["weights"]) != key:
                return {}
            return dict(zip(stored["texts"].tolist(), stored["logp"].tolist(), strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _write(file: Path, key: str, values: dict[str, float]) -> None:
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial.npz")
        np.savez(partial, weights=key, texts=np.array(list(values)), logp=np.array(list(values.values())))
        partial.replace(file)


def fill(
    folder: Path,
    scoring: Scoring,
    initial: InitialParams,
    about: dict[str, Any],
    of_splits: dict[str, tuple[Questions, Shape]],
) -> None:
    """Fills the reference column of questions.

    Args:
      folder: of the run.
      of_splits: the questions of each split, and the shape in which they are scored.
    """
    file, key = folder / "columns" / f"{REFERENCE}.npz", _weights_key(about, scoring.model)
    # with several processes each would have to see the file
    known = _read(file, key) if distributed.is_alone() else {}
    params: Params | None = None
    for split, (questions, shape) in of_splits.items():
        hashes = _hashes(questions)
        if all(h in known for of_entry in hashes for h in of_entry):
            info(f"reference of {split}: {len(hashes)} rows, as computed before ({file})")
        else:
            params = params or api.cast_for_scoring(initial.training(), scoring.model)
            found = scoring.score_questions(params, questions, shape, f"{split} under the reference")
            assert isinstance(found, Likelihoods), "preferences are read as texts"
            for of_entry, logp_C in zip(hashes, found.logp_EC.tolist(), strict=True):
                known.update(zip(of_entry, logp_C, strict=False))
        column_EC = np.zeros((len(hashes), questions.measures.options), np.float32)
        for entry, of_entry in enumerate(hashes):
            column_EC[entry, : len(of_entry)] = [known[h] for h in of_entry]
        questions.columns[REFERENCE] = column_EC
    if params is not None and distributed.is_primary():
        _write(file, key, known)


def check_first_step(sums: dict[str, tuple[float, float]], model: api.Model, why: str) -> None:
    """Refuses to train on a reference that is not the model's: before the first update every log-ratio is 0.

    Then every pair's reward is 0 and DPO's loss is ln 2 a pair, whatever the rows.

    Args:
      sums: the metrics of the first step.
      why: what is wrong if it is not, and the remedy.

    Raises:
      UserError: it is not.
    """
    if "reference_gap" not in sums:
        return
    total, texts = sums["reference_gap"]
    gap = math.sqrt(total / texts)
    exact = model.compute.dtype == model.compute.product_dtype == "float32"
    if math.isfinite(gap) and gap <= TOLERANCE["float32" if exact else "bfloat16"]:
        return
    raise UserError(
        f"step 1: log p of a text differs from its reference, by {gap:.4g} nats times the root of its tokens, and "
        f"should not before the first update (every reward is 0 there, and a pair's loss ln 2 = 0.6931): {why}"
    )
