"""Scruples DILEMMAS, BERT-large (uncased): each action read alone, one score each, as in arXiv 2008.09094. Their search
over rates and epochs is not published: these are the usual ones."""

from moral_jax import config


def get_config():
    c = config.default()
    c.model.path = "google-bert/bert-large-uncased"
    c.task.name = "dilemmas"
    c.model.head = "score"
    c.data.length = 256
    c.data.batch_size = 4
    c.data.micro_batch_size = 4
    c.optim.lr = 1e-5
    c.train.epochs = 5
    return c
