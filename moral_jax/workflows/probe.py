"""Looks inside models: rows -> states of every layer, probes, CKA, directions, page.

OUT/probe.json          what was asked of whom, and the numbers
OUT/states-NAME.npz     states [L + 1, E, D] and ids, if they are kept
OUT/report.html, .md    the page
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.probe.count import count
from moral_jax.analysis.probe.subject import Seen, folds
from moral_jax.config import Config
from moral_jax.models.spec import EncoderSpec
from moral_jax.report import probe as page
from moral_jax.report.page import Written
from moral_jax.respondents.base import asks_of
from moral_jax.respondents.local import LocalRespondent
from moral_jax.runs.directory import RunDirectory
from moral_jax.runtime import distributed, files, strict_json
from moral_jax.types import UserError
from moral_jax.weights import load, source
from moral_jax.workflows.asking import Who, config_for, locked
from moral_jax.workflows.evaluate import check_answers_questions, local_respondent
from moral_jax.workflows.probe_rows import Probing

PROBE = "probe.json"


def _check(who: Who) -> None:
    """Raises UserError for a respondent whose states cannot be read."""
    if who.config.respondent.kind != "local":
        raise UserError(
            f"{who.name}: shows no hidden states; only models on this machine do: --model=PATH, OWNER/MODEL or run:DIR"
        )
    if who.config.model.head == "text":
        raise UserError(
            f"{who.name}: config.model.head='text' reads options at all of their tokens, and a probe one state; set "
            f"--config.model.head=vocabulary"
        )
    check_answers_questions(who.config, RunDirectory(who.run) if who.run else None)


class Looker(NamedTuple):
    """A respondent, and how it is asked."""

    respondent: LocalRespondent
    config: Config
    has_head: bool  # an encoder's is random until a run has trained it, and means nothing


def _find(who: Who, asked: Probing) -> Looker:
    """Returns the respondent, without its weights. Encoders read a row's own words, no template."""
    config = config_for(who.config, asked.folder)
    is_encoder = isinstance(load.read_spec(source.resolve(config.model.path, source.HUB_FILES)), EncoderSpec)
    if is_encoder:
        config = dataclasses.replace(config, prompt=dataclasses.replace(config.prompt, template=None))
    respondent, _ = local_respondent(config, RunDirectory(who.run) if who.run else None, {})
    return Looker(respondent, config, who.run is not None or not is_encoder)


def _look(name: str, looker: Looker, asked: Probing) -> Seen:
    """Returns the states of every row, averaged over the orders of its options, and the log-odds of its right one."""
    asks = asks_of(looker.respondent, asked.examples, looker.config.orders_of)
    looker.respondent.prepare({"rows": asks})
    layers = looker.respondent.look(asks, f"rows with {name}")
    looker.respondent.forget()
    places = np.array([place for place, _ in asks.items])
    count_E = np.bincount(places, minlength=len(asked.examples))
    states_ELD = np.zeros((len(asked.examples), *layers.states.shape[1:]))
    np.add.at(states_ELD, places, layers.states)
    states_LED = np.moveaxis(states_ELD / count_E[:, None, None], 0, 1).astype(np.float32)
    gold_E = asked.rows.gold_E
    if not looker.has_head or (gold_E < 0).all():
        return Seen(states_LED, None)
    odds_EL = np.zeros(states_ELD.shape[:2])
    for item, (place, order) in enumerate(asks.items):
        if gold_E[place] < 0:
            odds_EL[place] = np.nan
            continue
        shown = np.asarray(layers.log_shares[item], float)[:, : len(order)]
        right = order.index(gold_E[place])
        others = np.logaddexp.reduce(np.delete(shown, right, axis=1), axis=1)
        odds_EL[place] += (shown[:, right] - others) / count_E[place]
    return Seen(states_LED, odds_EL.T)


def _claim(out: Path, asked: Probing, abouts: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Returns what the directory says of itself.

    Raises:
      UserError: it holds numbers of other rows or respondents.
    """
    said = [[e.id, e.notes["asked"], int(label)] for e, label in zip(asked.examples, asked.rows.labels_E, strict=True)]
    about = how | {
        "task": asked.folder.name,
        "label": asked.label,
        "sha256": hashlib.sha256(json.dumps(said).encode()).hexdigest(),
        "respondents": abouts,
    }
    if (path := out / PROBE).exists() and (found := strict_json.read(path).get("asked")) != about:
        known = found if isinstance(found, dict) else {}
        other = next((key for key in about if known.get(key) != about[key]), "rows")
        raise UserError(f"{path}: holds numbers of another probe ({other} differs); pass --out=ANOTHER")
    return about


def probe(
    asked: Probing, respondents: Sequence[Who], out: Path, seed: int, resamples: int, *, keeps_states: bool = False
) -> Written:
    """Reads the states of all respondents, and writes numbers and page.

    Args:
      out: a new directory, or one that the same probe has filled.
      seed: of folds, control labels and intervals.
      resamples: of the bootstrap.
      keeps_states: write the states too.

    Raises:
      UserError: a respondent shows no states, rows are too few, or `out` holds another probe.
    """
    for who in respondents:
        _check(who)
    folds(asked.rows, seed)  # before anything is loaded
    with locked(out):
        found = [_find(who, asked) for who in respondents]
        abouts = {who.name: one.respondent.about for who, one in zip(respondents, found, strict=True)}
        about = _claim(out, asked, abouts, {"seed": seed, "resamples": resamples})
        seen = {who.name: _look(who.name, one, asked) for who, one in zip(respondents, found, strict=True)}
        if not distributed.is_primary():
            return Written(out / "report.html", "", "")
        if keeps_states:
            _keep(out, asked, seen)
        numbers = count(asked.rows, seen, seed, resamples)
        files.write_json(out / PROBE, {"asked": about, "left_out": asked.left_out} | numbers)
        return page.write(out, numbers, about, dataclasses.asdict(asked.folder))


def _keep(out: Path, asked: Probing, seen: dict[str, Seen]) -> None:
    ids = np.array([e.id for e in asked.examples])
    labels = np.array([asked.rows.classes[i] for i in asked.rows.labels_E])
    for number, (name, of) in enumerate(seen.items(), 1):
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        with files.storage_errors(out):
            np.savez(out / f"states-{number}-{plain}.npz", states_LED=of.states_LED, ids=ids, labels=labels)
