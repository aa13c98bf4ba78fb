"""Fine-tune open language models on the distribution of human moral judgements, and measure how close they got.

respondent = moral_jax.load("runs/demo")
respondent.ask("Was it wrong to leave?", ["yes", "no"])  # {"yes": 0.7, "no": 0.3}
"""

import os
import typing

if typing.TYPE_CHECKING:
    from pathlib import Path

    from moral_jax.respondents.base import Interview

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported: nothing is reported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts are tokenised on threads of ours
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is missing: it is not needed
__version__ = "0.2.0"
__all__ = ["load"]


def load(who: "str | Path", *settings: str) -> "Interview":
    """Returns a respondent that scores questions.

    Args:
      who: a run directory; a model as --model=WHO of the command line names it: a folder, a .gguf file,
        package:NAME/FILE, OWNER/MODEL, api:NAME or scripted:NAME.
      settings: "SECTION.FIELD=VALUE" of the config, such as "prompt.format=plain"; a run brings its own.

    Raises:
      UserError: there is no such run or model, or a setting is wrong.
    """
    from moral_jax.workflows.evaluate import load as load_respondent

    return load_respondent(str(who), settings)
