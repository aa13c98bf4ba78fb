"""Trains from one config: python train.py --config=configs/demo.py"""

import sys

from moral_jax import cli

if __name__ == "__main__":
    sys.exit(cli.train_main(sys.argv[1:]))
