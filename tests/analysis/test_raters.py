"""Agreement of raters: published values, and what is not defined."""

import numpy as np
import pytest

from moral_jax.analysis import raters

N = np.nan
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): four coders, twelve units
CODERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    ]
)


@pytest.mark.parametrize(("metric", "want"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107)])
def test_alpha_of_the_textbook(metric, want):
    assert raters.alpha(CODERS, metric) == pytest.approx(want, abs=1e-6)
    assert raters.alpha(CODERS[::-1, ::-1], metric) == pytest.approx(want, abs=1e-6)


def test_a_judge_that_always_says_three_has_an_alpha_near_zero():
    people = np.random.default_rng(0).integers(1, 6, 200).astype(float)
    found = raters.agreement([3.0] * 200, list(people), cut=3)
    assert abs(found["alpha"]["value"]) < 0.15
    assert "correlation" not in found
    assert raters.agreement(list(people), list(people), cut=3)["alpha"]["value"] == pytest.approx(1)


def test_kappa_of_the_textbook():
    said, labels = [True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = raters.of_yes_and_no(said, labels, 500)
    values = {name: of["value"] for name, of in found.items()}
    assert values == pytest.approx({"accuracy": 0.7, "sensitivity": 2 / 3, "specificity": 0.75, "kappa": 0.4})
    assert found["kappa"]["low"] < 0.4 < found["kappa"]["high"]
    assert found["kappa"]["low"] == pytest.approx(0.14, abs=0.05)  # 0.4 - 1.96 * 0.13, the large-sample error


def test_a_judge_says_yes_from_its_cut_on():
    found = raters.agreement([0.5, 0.49, 0.51, 0.0], [1.0, 0.0, 1.0, 0.0], cut=0.5)
    assert [found[name]["value"] for name in ("accuracy", "sensitivity", "specificity", "kappa")] == [1.0] * 4


def test_what_is_not_defined_is_left_out():
    found = raters.agreement([1.0, None, 1.0], [1.0, 0.0, 1.0], cut=0.5)
    assert (found["replies"], found["unknown"]) == (3, 1)
    assert {name for name in found if name not in ("replies", "unknown")} == {"accuracy", "sensitivity"}
    assert raters.agreement([None], [1.0], cut=0.5) == {"replies": 1, "unknown": 1}
    assert np.isnan(raters.alpha(np.array([[1.0, N], [N, 2.0]]), "interval"))
