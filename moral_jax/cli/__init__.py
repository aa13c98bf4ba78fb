"""The command line: one file a command, imported when it is chosen, so that `--help` does not wait for JAX.

A command is a module with `DESCRIPTION`, `add_arguments(parser)` and `run(args, rest) -> exit code or None`; `rest`
holds the arguments that the parser does not know, such as --config.SECTION.FIELD=VALUE.
"""
