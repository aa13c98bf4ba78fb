"""Makes the numbers of a page from the states of respondents on the same rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, estimate, interval
from moral_jax.analysis.probe import cka, control, directions, ridge
from moral_jax.analysis.probe.intervals import Groups, over_seeds, seeds_of
from moral_jax.analysis.probe.subject import Rows, Seen, folds
from moral_jax.runtime import console

CONTROLS, SHUFFLES, BAND = 5, 20, 200  # control labels, shuffled labels, shuffles of rows under CKA
SHARE = "share"  # no name of `quantities`: between 0 and 1
Numbers = dict[str, Any]


class Counter:
    """The rows, how they are divided, and the label sets that are probed: the same for every respondent."""

    def __init__(self, rows: Rows, seed: int, resamples: int):
        """Divides the rows.

        Raises:
          UserError: as of `subject.folds`.
        """
        self.rows, self.seed = rows, seed
        self.folds_E = folds(rows, seed)
        self.groups = Groups(rows.groups_E, resamples, seed)
        seeds = range(seed, seed + CONTROLS)
        self.controls_SE = control.labels(rows.words, rows.labels_E, rows.groups_E, seeds)
        self.shuffled_SE = control.shuffled(rows.labels_E, range(seed, seed + SHUFFLES))
        sets = [rows.labels_E[None], self.controls_SE, self.shuffled_SE]
        self.sets_SE = np.concatenate([s for s in sets if s is not None])

    def _probe(self, x_ED: np.ndarray, labels_SE: np.ndarray) -> ridge.Probed:
        return ridge.probe(x_ED, labels_SE, len(self.rows.classes), self.rows.groups_E, self.folds_E)

    def words(self) -> np.ndarray:
        """Returns where a probe on words alone is right, [E]."""
        counts_EW, _ = control.bag(self.rows.words)
        return self._probe(counts_EW, self.rows.labels_E[None]).correct_SE[0]

    def respondent(self, name: str, seen: Seen, words_E: np.ndarray) -> Numbers:
        """Returns the numbers of a respondent's layers, and of the layer that is chosen inside each training part."""
        bar = console.progress(seen.states_LED, desc=f"probing {name}", unit="layer", leave=None)
        probed = [self._probe(x_ED, self.sets_SE) for x_ED in bar]
        layers = [self._accuracies(one.correct_SE, words_E) for one in probed]
        if seen.log_odds_LE is not None:
            for layer, odds_E in zip(layers, seen.log_odds_LE, strict=True):
                layer |= self._lens(odds_E)
        return {"layers": layers, "chosen": self._chosen(probed, words_E), "shuffled": self._shuffles(probed)}

    def _accuracies(self, correct_SE: np.ndarray, words_E: np.ndarray) -> Numbers:
        """Returns accuracy, control accuracy and selectivity, and the lead over words alone."""
        controls_SE = correct_SE[1:-SHUFFLES]
        of = {"accuracy": correct_SE[0], "words": words_E}
        if len(controls_SE):
            of["control"] = controls_SE.mean(0)
        drawn = self.groups.draws(of)
        out: Numbers = {"accuracy": estimate(SHARE, drawn["accuracy"])}
        out["above_words"] = interval(drawn["accuracy"] - drawn["words"], (-1.0, 1.0))
        out["shuffled"] = float(correct_SE[-SHUFFLES:].mean())
        if len(controls_SE):
            seeds_S = controls_SE.mean(1)
            drawn["control"] = over_seeds(drawn["control"], seeds_S, self.seed)
            out["control"] = seeds_of(estimate(SHARE, drawn["control"]), seeds_S)
            out["selectivity"] = interval(drawn["accuracy"] - drawn["control"], (-1.0, 1.0))
        return out

    def _chosen(self, probed: list[ridge.Probed], words_E: np.ndarray) -> Numbers:
        """Returns the accuracies of the layer that errs least inside each training part, on the rows held out."""
        layer_FS = np.argmin([one.errors_FS for one in probed], axis=0)
        correct_LSE = np.stack([one.correct_SE for one in probed])
        true_SE = np.zeros(self.sets_SE.shape)  # in the layers of the true label
        own_SE = np.zeros(self.sets_SE.shape)  # in those of each set of labels
        for fold, layer_S in enumerate(layer_FS):
            out = self.folds_E == fold
            true_SE[:, out] = correct_LSE[layer_S[0]][:, out]
            own_SE[:, out] = correct_LSE[layer_S, np.arange(len(layer_S))][:, out]
        luck = float(np.percentile(own_SE[-SHUFFLES:].mean(1), 95))
        return self._accuracies(true_SE, words_E) | {"layers": layer_FS[:, 0].tolist(), "shuffled_95": luck}

    def _shuffles(self, probed: list[ridge.Probed]) -> Numbers:
        """Returns what the best layer has where labels say nothing: the price of picking a layer by its accuracy."""
        of_LS = np.stack([one.correct_SE[-SHUFFLES:].mean(1) for one in probed])
        return {"mean": float(of_LS.mean()), "best_layer_95": float(np.percentile(of_LS.max(0), 95))}

    def _lens(self, odds_E: np.ndarray) -> Numbers:
        known_E = np.isfinite(odds_E)
        drawn = self.groups.draws({"odds": odds_E, "right": np.where(known_E, odds_E > 0, np.nan)})
        return {"logit_difference": interval(drawn["odds"]), "lens_accuracy": estimate(SHARE, drawn["right"])}

    def pair(self, names: tuple[str, str], first: Seen, other: Seen) -> Numbers:
        """Returns how alike the states of two respondents lie, layer by layer, and their directions."""
        a, b = first.states_LED, other.states_LED
        places = np.round(np.linspace(0, len(b) - 1, len(a))).astype(int)
        two, same = len(self.rows.classes) == 2, a.shape == b.shape
        out = []
        bar = console.progress(places, desc=f"comparing {' and '.join(names)}", unit="layer", leave=None)
        for layer, place in enumerate(bar):
            value = cka.debiased(a[layer], b[place])
            found: Numbers = {"layer_of_other": int(place), "cka": None, "cka_biased": None, "band": None}
            if np.isfinite(value):
                band = cka.band(a[layer], b[place], BAND, self.seed)
                found |= {"cka": value, "cka_biased": cka.biased(a[layer], b[place]), "band": band}
            turned = None
            if two and same:
                turned = directions.compare(
                    a[layer].astype(float), b[layer].astype(float), self.rows, self.folds_E, self.groups, self.seed
                )
            out.append(found | {"direction": turned})
        return {"names": list(names), "layers": out, "width": [a.shape[-1], b.shape[-1]], "same_shape": same}


def count(rows: Rows, seen: Mapping[str, Seen], seed: int, resamples: int) -> Numbers:
    """Returns all numbers of a page.

    Args:
      seen: respondent -> its states; the first is compared with each other one.
      resamples: of the bootstrap.

    Raises:
      UserError: the rows are too few, or their keys connect too many of them.
    """
    counter = Counter(rows, seed, resamples)
    words_E = counter.words()
    words: Estimate = estimate(SHARE, counter.groups.draws({"words": words_E})["words"])
    names = list(seen)
    return {
        "classes": {name: int(np.sum(rows.labels_E == i)) for i, name in enumerate(rows.classes)},
        "rows": len(rows.labels_E),
        "groups": int(rows.groups_E.max()) + 1,
        "floor": float(np.bincount(rows.labels_E).max() / len(rows.labels_E)),
        "words": words,
        "has_control": counter.controls_SE is not None,
        "respondents": {name: counter.respondent(name, of, words_E) for name, of in seen.items()},
        "pairs": [counter.pair((names[0], other), seen[names[0]], seen[other]) for other in names[1:]],
    }
