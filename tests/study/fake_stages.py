"""A fake run that begins with another: `fake`, with the hashes that real runs record of what they have trained.

The file that FAKE_SALT names stands for whatever makes a second training come out differently.
"""

import hashlib
import json
import os
from pathlib import Path

from moral_jax.config import parsing
from tests.study import fake


def main(arguments):
    code = fake.main(arguments)
    workdir = Path(next(a for a in arguments if a.startswith("--workdir=")).removeprefix("--workdir="))
    config = parsing.from_flags([a for a in arguments if a.startswith("--config")])
    if code:
        return code
    before, used = config.model.run, {"model.gguf": "00"}
    if before is not None:
        trained = json.loads((before / "provenance.json").read_text())["trained"]
        used |= {f"{before.name}/checkpoints/{trained['step']}": trained["sha256"]}
    salt = Path(os.environ.get("FAKE_SALT", "nowhere"))
    said = f"{sorted(used.items())} {config.train.seed} {salt.read_text() if salt.exists() else ''}"
    about = json.loads((workdir / "provenance.json").read_text())
    about |= {"model": {"path": config.model.path, "sha256": used}}
    about |= {"trained": {"step": 5, "sha256": hashlib.sha256(said.encode()).hexdigest(), "tokens": 1000}}
    (workdir / "provenance.json").write_text(json.dumps(about))
    return 0
