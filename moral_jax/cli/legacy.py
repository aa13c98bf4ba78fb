"""Commands of version 0.1 under their old names, for one version."""

import sys

OLD = {"baseline": "eval --model=baseline:NAME", "api": "eval --model=api:NAME"}


def translate(arguments: list[str]) -> list[str]:
    """Returns the arguments with an old command replaced by what it is now; others unchanged."""
    if not arguments or arguments[0] not in OLD:
        return arguments
    old, *rest = arguments
    print(f"note: moral-jax {old} is moral-jax {OLD[old]} now", file=sys.stderr)
    if old == "api":
        return ["eval", *rest]
    if {"-h", "--help"} & set(rest):
        return ["eval", *rest]
    name = next((argument for argument in rest if not argument.startswith("-")), "")
    return ["eval", f"--model=baseline:{name}", *(argument for argument in rest if argument != name)]
