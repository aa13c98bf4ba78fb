"""`python -m moral_jax` is `moral-jax`."""

import sys

from moral_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
