"""The one table of the numbers in `metrics.json`: name, label, which way is better, limits, formula.

Pages, studies and docs/method.md take their words from here; `moral_jax.analysis` computes the numbers. In formulas,
c are the votes for the K options, N their sum, q = c / N, p the prediction, s its concentration; over rows means are
taken, unless the formula says otherwise.
"""

from typing import NamedTuple

LOWER, HIGHER, NEITHER = "lower", "higher", ""
INF = float("inf")


class Quantity(NamedTuple):
    """What a number is called, and what it means."""

    label: str
    better: str  # LOWER, HIGHER, or NEITHER
    limits: tuple[float, float]  # between which it lies, whatever the votes
    formula: str


QUANTITIES: dict[str, Quantity] = {
    "cross_entropy": Quantity("cross-entropy", LOWER, (0, INF), "- sum_k q_k log p_k, nats"),
    "dirichlet_nll": Quantity(
        "Dirichlet NLL",
        LOWER,
        (0, INF),
        "- [lgamma(s) - lgamma(s + N) + sum_k (lgamma(s p_k + c_k) - lgamma(s p_k))], nats",
    ),
    "total_variation": Quantity("total variation", LOWER, (0, 1), "sum_k abs(p_k - q_k) / 2"),
    "accuracy": Quantity(
        "accuracy",
        HIGHER,
        (0, 1),
        "1 where the likeliest option is the plurality's; of tied options each counts for its part",
    ),
    "macro_f1": Quantity(
        "macro F1",
        HIGHER,
        (0, 1),
        "over all rows: mean over options of 2 sum(a b) / sum(a + b), a and b an option's parts of pick and plurality",
    ),
    "squared_distance": Quantity(
        "squared distance to the true shares",
        LOWER,
        (-INF, INF),
        "sum_k (p_k - q_k)^2 - sum_k q_k (1 - q_k) / (N - 1): unbiased, so it may be negative; rows of N > 1",
    ),
    "explained": Quantity(
        "share of people's differences explained",
        HIGHER,
        (-INF, 1),
        "1 - D(model) / D(best constant), D the squared distance to the true shares over all rows",
    ),
    "way_to_true_shares": Quantity(
        "share of the way from the best constant to the true shares",
        HIGHER,
        (-INF, INF),
        "(CE(best constant) - CE(model)) / (CE(best constant) - CE(true shares)) over all rows",
    ),
    "worth_in_votes": Quantity(
        "worth in votes of other people",
        HIGHER,
        (0, INF),
        "the m at which the mean cross-entropy of (alpha + c') / (A + m) is the model's, c' all draws of m votes from "
        "the second panel without replacement (hypergeometric), straight lines between whole m",
    ),
    "vote_entropy": Quantity("entropy of the votes", NEITHER, (0, INF), "- sum_k q_k log q_k, nats"),
    "kl": Quantity("KL divergence", LOWER, (0, INF), "sum_k q_k log(q_k / p_k), nats"),
    "jensen_shannon": Quantity(
        "Jensen-Shannon divergence", LOWER, (0, 1), "[KL(q, m) + KL(p, m)] / 2 with m = (p + q) / 2, nats"
    ),
    "jensen_shannon_distance": Quantity(
        "Jensen-Shannon distance",
        LOWER,
        (0, 1),
        "square root of a row's Jensen-Shannon divergence in nats (ChaosNLI's); 1.2011 times as much in base 2",
    ),
    "wasserstein": Quantity(
        "1-Wasserstein distance on the scale",
        LOWER,
        (0, 1),
        "sum_j abs(P_j - Q_j) (x_(j+1) - x_j) / (x_K - x_1), options in the order of their positions x, P and Q "
        "cumulated; options without a position are left out",
    ),
    "brier": Quantity("Brier score", LOWER, (0, 2), "sum_k (p_k - q_k)^2"),
    "dirichlet_nll_per_vote": Quantity("Dirichlet NLL per vote", LOWER, (0, INF), "Dirichlet NLL / N"),
    "entropy_error": Quantity(
        "entropy of the prediction above that of the votes", NEITHER, (-INF, INF), "H(p) - H(q), nats"
    ),
    "absolute_entropy_error": Quantity(
        "difference of the two entropies, without sign", LOWER, (0, INF), "abs(H(p) - H(q)), nats"
    ),
    "same_ranks": Quantity(
        "options ranked as by the votes (RankCS)",
        HIGHER,
        (0, 1),
        "the chance that p and c rank the options alike, ties broken at random: 1 or 0 where none tie",
    ),
    "share_calibration": Quantity(
        "calibration error of shares",
        LOWER,
        (0, 1),
        "over all rows: sum_b n_b abs(mean p - mean q) / sum_b n_b, over ten equal bins b of predicted shares",
    ),
    "share_correlation": Quantity(
        "correlation of predicted with human share",
        HIGHER,
        (-1, 1),
        "over all rows: Pearson's of p_k - mean p_k and q_k - mean q_k, means over rows with equally many options",
    ),
    "calibrated_cross_entropy": Quantity(
        "cross-entropy, temperature fitted on validation", LOWER, (0, INF), "cross-entropy of softmax(log p / T)"
    ),
    "calibrated_dirichlet_nll": Quantity(
        "Dirichlet NLL, concentration fitted on validation", LOWER, (0, INF), "Dirichlet NLL with f s for s"
    ),
    "concentration": Quantity("concentration s", NEITHER, (0, INF), "s"),
    "prediction_entropy": Quantity("entropy of the prediction", NEITHER, (0, INF), "- sum_k p_k log p_k, nats"),
    "option_mass": Quantity(
        "probability on the options' tokens", HIGHER, (0, 1), "sum_k P(tokens of option k), mean over orders"
    ),
    "first_place_bias": Quantity(
        "order bias: extra share of the option shown first",
        NEITHER,
        (-1, 1),
        "mean over orders of the share of the option shown first, minus 1 / K",
    ),
    "order_sensitivity": Quantity(
        "order sensitivity: total variation from the average over orders",
        LOWER,
        (0, 1),
        "mean over orders o of sum_k abs(p_k(o) - p_k) / 2",
    ),
    "second_panel_agreement": Quantity(
        "agrees with the plurality of a second panel", HIGHER, (0, 1), "accuracy against the second panel's votes"
    ),
    "second_panel_people": Quantity(
        "as many other people agree with it", NEITHER, (0, 1), "accuracy of q against the second panel's votes"
    ),
    "choice_accuracy": Quantity(
        "accuracy of the option that the rule picks", HIGHER, (0, 1), "accuracy with all on the option picked"
    ),
    "choice_macro_f1": Quantity(
        "macro F1 of the option that the rule picks", HIGHER, (0, 1), "macro F1 with all on the option picked"
    ),
    "legacy_cross_entropy": Quantity(
        "legacy cross-entropy (formula of arXiv 2410.07826)",
        NEITHER,
        (0, INF),
        "- sum_k q_k log softmax(P)_k, P the vocabulary's probabilities of the options' tokens",
    ),
    "legacy_dirichlet": Quantity(
        "legacy Dirichlet (formula of arXiv 2410.07826)", NEITHER, (-INF, INF), "Dirichlet NLL with alpha = P"
    ),
    "split_correlation": Quantity(
        "correlation of expected with observed split",
        HIGHER,
        (-1, 1),
        "over all rows: Spearman's of the expected and the observed split",
    ),
    "concentration_correlation": Quantity(
        "of concentration with observed split", NEITHER, (-1, 1), "over all rows: Spearman's of s and observed split"
    ),
    "dirichlet_gain": Quantity(
        "gain in Dirichlet NLL over one concentration",
        HIGHER,
        (-INF, INF),
        "Dirichlet NLL with one s for all rows (fitted on validation), minus that with the model's own",
    ),
}  # fmt: skip
TEXTS: dict[str, Quantity] = {  # in formulas, n are the tokens of a text that are read, q its share of the votes
    "nll_per_token": Quantity(
        "NLL per token", LOWER, (0, INF), "- sum over rows of q log p(text) / sum of q n, nats: of the chosen texts"
    ),
    "perplexity": Quantity("perplexity", LOWER, (1, INF), "exp(NLL per token)"),
    "rejected_nll_per_token": Quantity(
        "NLL per token of the rejected", NEITHER, (0, INF), "the same with (1 - q) in place of q"
    ),
    "likelihood_accuracy": Quantity(
        "chosen is likelier", HIGHER, (0, 1), "1 where the most chosen text has the largest log p; ties count in part"
    ),
    "reward_accuracy": Quantity(
        "chosen has the higher reward", HIGHER, (0, 1), "the same with the reward beta (log p - log p_ref)"
    ),
    "reward_margin": Quantity(
        "reward margin", HIGHER, (-INF, INF), "mean reward of the chosen text minus that of the others"
    ),
    "chosen_reward": Quantity("reward of the chosen", NEITHER, (-INF, INF), "mean of q-weighed rewards"),
    "rejected_reward": Quantity("reward of the rejected", NEITHER, (-INF, INF), "mean of (1 - q)-weighed rewards"),
    "tokens": Quantity("tokens of a chosen text", NEITHER, (0, INF), "n"),
    "rejected_tokens": Quantity("tokens of a rejected text", NEITHER, (0, INF), "n of the others"),
}  # fmt: skip
REPLIES: dict[str, Quantity] = {  # over the replies to a prompt, then over prompts, means are taken
    "reward": Quantity("reward", HIGHER, (-INF, INF), "weighted sum of the rewards that are known"),
    "unknown": Quantity("no reward known", NEITHER, (0, 1), "1 where no reward could say anything"),
    "tokens": Quantity("tokens of a reply", NEITHER, (0, INF), "the end token counted in"),
    "finished": Quantity("ended by itself", NEITHER, (0, 1), "1 where the reply was not cut at its greatest length"),
}  # fmt: skip
YARDSTICKS = {  # predictions that read no text, and people, by their name in `metrics.json`
    "uniform": "uniform",
    "train prior": "prior of the training votes",
    "best constant": "best constant (knows these votes)",
    "second panel": "as many other people, their votes taken as a prediction",
    "BEST": "true shares, if they were known (BEST of Scruples)",
}
MAIN = ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "macro_f1")
SECOND_ORDER = ("split_correlation", "concentration_correlation", "dirichlet_gain")
MORE = tuple(name for name in QUANTITIES if name not in (*MAIN, *SECOND_ORDER))


def labels(names: tuple[str, ...]) -> dict[str, str]:
    """Returns the labels of some numbers by name."""
    return {name: QUANTITIES[name].label for name in names}
