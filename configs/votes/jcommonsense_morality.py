"""JCommonsenseMorality: Japanese sentences, one label of a majority. Needs --config.task.path=data_train.csv."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.question = "次の行為は道徳的に許されますか。"
    c.task.fields.text = "{sent}"
    c.task.fields.options = "許されない|許される"
    c.task.fields.labels, c.task.fields.codes = "label", "1|0"
    return c
