import sys
from pathlib import Path
from moral_jax import config_io
from moral_jax.types import UserError
def train_main(argv):
    from moral_jax import run
    wd=[a for a in argv if a.startswith('--workdir=')]
    rest=[a for a in argv if not a.startswith('--workdir=')]
    try:
        c=config_io.from_flags(rest)
        run.train(c, Path(wd[0].split('=',1)[1]) if wd else Path('runs')/Path(next(a for a in rest if a.startswith('--config=')).split('=')[1]).stem)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr); return 2
    return 0
