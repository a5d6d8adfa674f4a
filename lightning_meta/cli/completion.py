"""lightning-meta completion: a script that completes commands, options and packaged configurations in a shell."""

import argparse
import re
from collections.abc import Callable, Iterator

import shtab

from clusters.core.plugins import load_backends
from lightning_meta.cli import COMMANDS, rendered
from lightning_meta.cli.jobs import jobs_parser
from lightning_meta.cli.submit import Parser, submit_parser
from lightning_meta.config.listing import packaged

SHELLS = ("bash", "zsh")
DESCRIPTION = """Print a script with which the Tab key completes commands, options and the names of packaged configurations.

  bash:  lightning-meta completion bash > ~/.local/share/bash-completion/completions/lightning-meta
  zsh:   lightning-meta completion zsh > ~/.zfunc/_lightning-meta, with fpath+=~/.zfunc before compinit in ~/.zshrc"""
OPTION = re.compile(r"^  (?:-\w(?: \w+)?, )?(--[\w.]+\+?)", re.MULTILINE)
SUBCOMMAND = re.compile(r"^    ([a-z][a-z0-9]*)(?:\s|$)", re.MULTILINE)
CONFIGS = "_lightning_meta_configs"
FUNCTIONS = {  # packaged names and YAML files
    "bash": '{name}() {{\n  compgen -W \'{configs}\' -- "$1"\n  compgen -f -X \'!*.y*ml\' -- "$1"\n  compgen -d -- "$1"\n}}',
    "zsh": "{name}() {{\n  compadd -- {configs}\n  _files -g '*.y(a|)ml'\n}}",
}


def run(argv: list[str]) -> None:
    """Print the script of a shell."""
    parser = completion_parser()
    print(script(parser.parse_args(argv).shell))


def completion_parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        prog="lightning-meta completion",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def script(shell: str) -> str:
    """Return the script of a shell. It is complete in itself: the Tab key starts no Python."""
    configs = " ".join(path.name for each in packaged().values() for path in each)
    return shtab.complete(whole_parser(), shell, preamble=FUNCTIONS[shell].format(name=CONFIGS, configs=configs))


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser of all commands with their options, built without importing PyTorch."""
    whole = argparse.ArgumentParser(prog="lightning-meta")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers()
    live: dict[str, Callable[[], argparse.ArgumentParser]] = {
        "submit": lambda: submit_parser(load_backends()[0]),
        "jobs": jobs_parser,
        "completion": completion_parser,
    }
    for name, command in COMMANDS.items():
        parser = commands.add_parser(name, help=command.purpose)
        if name in live:
            commands.choices[name] = live[name]()
        elif name == "configs":
            completed(parser.add_argument("name", nargs="*", help="a packaged configuration"))
        else:
            add_options(parser, name)
    return whole


def add_options(parser: argparse.ArgumentParser, *words: str) -> None:
    """Add to a parser what the help of a command or subcommand lists: its options and its subcommands with theirs."""
    text = rendered(*words) or ""
    for option in options(text):
        action = parser.add_argument(option, help="")
        if option == "--config":
            completed(action)
        elif option == "--ckpt_path":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # which shtab reads
    if names := subcommands(text):
        nested = parser.add_subparsers()
        for name in names:
            add_options(nested.add_parser(name, help=name), *words, name)


def subcommands(text: str) -> list[str]:
    """Return the names of the subcommands in the help of a command."""
    return SUBCOMMAND.findall(text.partition("Available subcommands:")[2])


def options(text: str) -> Iterator[str]:
    """Yield the long options in the help of a command, without `--help`, which every parser has."""
    yield from (option for option in dict.fromkeys(OPTION.findall(text)) if option != "--help")


def completed(action: argparse.Action) -> None:
    """Let an argument be completed with the names of configurations."""
    action.complete = dict.fromkeys(SHELLS, CONFIGS)  # type: ignore[attr-defined]  # which shtab reads
