"""What the commands' parsers share."""

from typing import Any

Commands = Any  # what argparse's add_subparsers returns, which has no public name
