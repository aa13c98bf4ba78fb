"""Trains from one config: python train.py --config=configs/demo.py"""

import sys

from moral_jax.cli import main

if __name__ == "__main__":
    sys.exit(main.train_main(sys.argv[1:]))
