"""Every setting, once: frozen dataclasses own the fields, their defaults and their checks.

A config file is a Python file with `get_config()`, which returns `default()` with the few fields changed that make
it a different experiment; `build` turns it into the frozen `Config`.
"""

from moral_jax.config.build import build, default, from_dict
from moral_jax.config.experiment import Config
from moral_jax.config.parsing import questionnaire, source

__all__ = ["Config", "build", "default", "from_dict", "questionnaire", "source"]
