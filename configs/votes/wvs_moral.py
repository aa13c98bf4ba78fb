"""World Values Survey by country, ten points. Needs --config.task.path=wvs7_q176_q198_country_counts_5k_sample.csv
and --config.task.items_path=question_metadata.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence = "LicenseRef-survey-terms"
    c.task.source = "https://github.com/Demon702/WorldValuesBench"
    c.task.citation = "World Values Survey, wave 7"
    c.task.fields.item, c.task.fields.key = "question", "{question}"
    c.task.fields.vote, c.task.fields.weight, c.task.fields.by = "answer_code", "count", "country_iso_numeric"
    c.task.fields.question = "{items.question}"
    c.task.fields.text = "Asked in the country with the ISO number {country_iso_numeric}."
    c.task.fields.options = "1|2|3|4|5|6|7|8|9|10"
    c.task.fields.ignore = "-1|-2|-4|-5"
    c.task.scale = True
    c.task.on_bad_row = "drop"  # questions that nobody of a country answered
    return c
