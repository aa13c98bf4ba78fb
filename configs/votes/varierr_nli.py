"""VariErrNLI (LeWiDi 2025): three yes / no questions a pair. Needs --config.task.path=VariErrNLI_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.text = "Context: {text.context}\nStatement: {text.statement}"
    c.task.fields.each = "entailment|neutral|contradiction"
    c.task.fields.question = "Can the statement be called {each}, given the context?"
    c.task.fields.options, c.task.fields.codes = "Yes|No", "1|0"
    c.task.fields.counts = "soft_label.{each}"
    c.task.fields.total = "number of annotations"
    return c
