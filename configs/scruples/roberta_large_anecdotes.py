"""Scruples ANECDOTES, five-way, RoBERTa-large: title and text as a pair, as in arXiv 2008.09094. Their search over
rates and epochs is not published: these are the usual ones."""

from moral_jax import config


def get_config():
    c = config.default()
    c.model.path = "FacebookAI/roberta-large"
    c.task.name = "anecdotes"
    c.model.head = "classes"
    c.data.length = 512
    c.data.questions_per_row = 8
    c.data.batch_size = 16
    c.data.micro_batch_size = 4
    c.optim.lr = 1e-5
    c.train.epochs = 3
    return c
