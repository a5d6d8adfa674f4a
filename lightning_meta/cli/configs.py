"""lightning-meta configs: list the packaged configurations, or print them."""

import sys

from lightning_meta.config.listing import list_configs, usage
from lightning_meta.config.merge import resolve
from lightning_meta.core import InputError

HELP = """usage: lightning-meta configs [NAME ...]

List the packaged configurations, or print the named ones; a command that uses each is written to standard error.

example, a file of your own that begins as a packaged one:
  lightning-meta configs glyphs-maml.yaml > mine.yaml
"""


def run(argv: list[str]) -> None:
    """List the packaged files, or print those that `argv` names, each followed by a command that uses it."""
    if {"-h", "--help"} & set(argv):
        print(HELP, end="")
        return
    if options := [arg for arg in argv if arg.startswith("-")]:
        raise InputError(
            f"configs has no option {options[0]}: `configs` lists the packaged files, `configs NAME` prints one"
        )
    if not argv:
        print(list_configs())
    for file in map(resolve, argv):
        print(file.read_text().rstrip(), flush=True)
        if command := usage(file):
            print(f"use it: {command}", file=sys.stderr)
