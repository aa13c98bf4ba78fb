"""The theorems of a decision as properties."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moral_jax.analysis import decide
from moral_jax.analysis.decide import Problem, Rule

PLAIN = Rule(normalise=False, temperature=0.0, margin=0.0, seed=0)
# numbers of three digits: ties and sums are as in files that people write
unit = st.integers(0, 1000).map(lambda n: n / 1000)
utility = st.integers(-1000, 1000).map(lambda n: n / 1000)

# a machine that does other work too is slow now and then
quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def problems(draw, positive: bool = False):
    """Draws a problem, P, and a rule at temperature 0."""
    i, j, a = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(2, 5))
    weight = st.integers(1, 3000).map(lambda n: n / 1000) if positive else unit
    p = draw(hnp.arrays(float, (i, j), elements=weight.map(lambda x: min(x, 1.0))))
    context_J = np.array(draw(st.lists(st.integers(1, 9), min_size=j, max_size=j)), float)
    problem = Problem(
        [f"c{n}" for n in range(j)], [f"e{n}" for n in range(i)], [f"a{n}" for n in range(a)],
        context_J / context_J.sum(), draw(hnp.arrays(float, (i, j), elements=weight)),
        draw(hnp.arrays(float, (a, i), elements=utility)),
    )  # fmt: skip
    return problem, p, PLAIN._replace(normalise=draw(st.booleans()))


def expected(problem, p_IJ, normalise):
    """S by loops, as the definition has it."""
    out = []
    for u_I in problem.utilities_AI:
        total = 0.0
        for i in range(len(problem.prescripts)):
            for j in range(len(problem.contexts)):
                m = problem.weights_IJ[i, j] * p_IJ[i, j]
                if normalise:
                    column = sum(problem.weights_IJ[k, j] * p_IJ[k, j] for k in range(len(problem.prescripts)))
                    m = m / column if column else 0.0
                total += u_I[i] * m * problem.context_J[j]
        out.append(total)
    return np.array(out)


@quietly
@given(problems())
def test_the_best_by_brute_force_is_chosen(drawn):
    """Optimality."""
    problem, p, rule = drawn
    scores = expected(problem, p, rule.normalise)
    found = decide.decide(problem, p, rule)
    used = found["scores"]["divided" if rule.normalise else "as they are"]
    np.testing.assert_allclose(list(used.values()), scores, atol=1e-12)
    best = np.sort(scores)
    assume(best[-1] - best[-2] > 1e-9)
    assert found["choice"] == problem.actions[int(scores.argmax())]


@quietly
@given(problems(positive=True))
def test_with_positive_weights_the_choice_is_in_the_pareto_set(drawn):
    problem, p, rule = drawn
    found = decide.decide(problem, p, rule)
    assert found["pareto"]
    if found["choice"] is not None:
        assert found["choice"] in found["pareto"]


@quietly
@given(problems())
def test_the_pareto_set_by_its_definition(drawn):
    u = drawn[0].utilities_AI.tolist()
    kept = [
        a for a, own in enumerate(u)
        if not any(all(x >= y for x, y in zip(o, own, strict=True)) and o != own for o in u)
    ]  # fmt: skip
    assert decide.pareto(drawn[0].utilities_AI) == kept


@quietly
@given(problems(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3]))
def test_no_order_changes_the_choice(drawn, random, temperature):
    """Consistency: of prescripts, contexts or actions; to the last digit of the scores."""
    problem, p, rule = drawn
    rule = rule._replace(temperature=temperature, seed=random.randrange(100))
    i, j, a = (random.sample(range(n), n) for n in (*p.shape, len(problem.actions)))
    other = Problem(
        [problem.contexts[n] for n in j], [problem.prescripts[n] for n in i], [problem.actions[n] for n in a],
        problem.context_J[j], problem.weights_IJ[np.ix_(i, j)], problem.utilities_AI[np.ix_(a, i)],
    )  # fmt: skip
    one, two = decide.decide(problem, p, rule), decide.decide(other, p[np.ix_(i, j)], rule)
    assert one["choice"] == two["choice"]
    assert one["scores"] == two["scores"]
    assert set(one["pareto"]) == set(two["pareto"])


@quietly
@given(problems(), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_a_small_change_of_p_changes_little(drawn, eps, seed):
    """Robustness: by at most eps sum_ij |u_ai| w_ij c_j, without dividing; and below `off_by` no other choice."""
    problem, p, _ = drawn
    moved = np.clip(p + np.random.default_rng(seed).choice([-eps, eps], p.shape), 0, 1)
    one, two = (decide.scores(problem, x, normalise=False) for x in (p, moved))
    bound_A = eps * np.abs(problem.utilities_AI) @ (problem.weights_IJ * problem.context_J).sum(1)
    assert (np.abs(one - two) <= bound_A + 1e-12).all()
    off = decide.off_by(problem, one)
    if off is None or eps < off - 1e-9:
        assert two.argmax() == one.argmax()


def test_off_by_is_reached():
    """At the bound, the second catches up; so it is no looser than it could be."""
    problem = Problem(["c"], ["x", "y"], ["a", "b"], np.ones(1), np.ones((2, 1)), np.array([[1.0, 0.0], [0.0, 1.0]]))
    p = np.array([[0.6], [0.4]])
    off = decide.off_by(problem, decide.scores(problem, p, normalise=False))
    assert off == np.float64(0.1) or abs(off - 0.1) < 1e-12
    caught = decide.scores(problem, p + [[-off], [off]], normalise=False)
    assert caught[0] == caught[1] or abs(caught[0] - caught[1]) < 1e-12


@quietly
@given(problems())
def test_swapping_two_actions_swaps_their_scores(drawn):
    """So no constant can pass."""
    problem, p, rule = drawn
    u = problem.utilities_AI.copy()
    u[[0, 1]] = u[[1, 0]]
    one, two = (
        decide.scores(x, p, normalise=rule.normalise) for x in (problem, problem._replace(utilities_AI=u))
    )  # fmt: skip
    assert (one[0], one[1]) == (two[1], two[0])


@settings(quietly, max_examples=30)
@given(problems())
def test_draws_have_the_probabilities_that_are_printed(drawn):
    problem, p, rule = drawn
    rule = rule._replace(temperature=0.5)
    counts = dict.fromkeys(problem.actions, 0)
    for seed in range(300):
        counts[decide.decide(problem, p, rule._replace(seed=seed))["choice"]] += 1
    for action, q in decide.decide(problem, p, rule)["probabilities"].items():
        assert abs(counts[action] / 300 - q) < 5 * np.sqrt(q * (1 - q) / 300) + 1e-9
