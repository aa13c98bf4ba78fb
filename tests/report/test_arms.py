"""The table of arms in words."""

from moral_jax.report.study import arms


def value(mean, low, high, by_seed):
    return {"value": mean, "low": low, "high": high, "by_seed": by_seed}


def content(seeds=(0.7, 0.9)):
    both = [{"name": "explain", "tokens": [9000, 9002]}, {"name": "align", "tokens": []}]
    return {
        "measures": [{"label": "preference", "chance": 0.5}, {"label": "refusal", "chance": None}],
        "arms": [
            {"name": "base", "planned": 1, "values": {"preference": value(0.5, 0.4, 0.6, [0.5])}, "stages": []},
            {"name": "both", "planned": 2, "values": {"preference": value(0.8, 0.7, 0.9, list(seeds))}, "stages": both},
        ],
        "contrasts": [
            {"a": "both", "b": "base", "values": {"preference": {"value": 0.3, "low": 0.1, "high": 0.5}}},
            {"a": "base", "b": "both", "values": {"preference": {"value": -0.1, "low": -0.3, "high": 0.1}}},
        ],
    }


def test_the_table_has_seeds_tokens_and_chance():
    table = arms.table(content())
    assert table.header == ["arm", "preference", "refusal", "tokens of each stage"]
    assert table.rows == [
        ["base", "0.500 [0.400, 0.600]", "missing", "–"],
        ["both", "0.800 [0.700, 0.900] (0.700 to 0.900)", "missing", "explain 9,001 + align missing"],
        ["without any knowledge", "0.500", "", ""],
    ]


def test_differences_become_sentences():
    first, second, follows = arms.findings(content())
    assert first == "Preference is higher after “both” than after “base”: 0.300 [0.100, 0.500]."
    assert second == "Preference is not shown to differ between “base” and “both”: -0.100 [-0.300, 0.100]."
    assert follows.startswith("1 of 2 intervals leave out 0; they are not corrected")
    contrasts = arms.contrasts(content())
    assert contrasts.rows[0] == ["both − base", "0.300 [0.100, 0.500]", "missing"]


def test_missing_seeds_are_said():
    few = content(seeds=(0.8,))
    assert arms.table(few).rows[1][1] == "0.800 [0.700, 0.900], 1 of 2 seeds"
    assert arms.findings(few)[-1].startswith("Seeds are missing")
