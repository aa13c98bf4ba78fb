"""The same with the Dirichlet-multinomial loss: the model also says how divided people will be."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "dilemmas"
    c.prompt.format = "plain"
    c.data.batch_size = 1
    c.data.micro_batch_size = 1
    c.objective.name = "dirichlet_multinomial"
    c.objective.concentration = "predicted"
    c.optim.lr = 1e-4
    c.train.epochs = 1
    return c
