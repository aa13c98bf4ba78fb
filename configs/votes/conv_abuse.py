"""ConvAbuse (LeWiDi): does a user abuse a chatbot? A scale. Needs --config.task.path=ConvAbuse_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.text = "Bot: {text.prev_agent}\nUser: {text.prev_user}\nBot: {text.agent}\nUser: {text.user}"
    c.task.fields.question = "How abusive is the user's last message?"
    c.task.fields.options = "not abusive|ambiguous|mildly abusive|strongly abusive|very strongly abusive"
    c.task.fields.codes = "1|0|-1|-2|-3"
    c.task.fields.labels = "annotations"
    c.task.scale = True
    return c
