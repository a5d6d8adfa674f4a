"""One command: lightning-meta. A command is a module of its name here, with a function `run`, and a row of the table."""

import difflib
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple


class Command(NamedTuple):
    """A command: its module, its line of help and an example."""

    purpose: str
    example: str = ""


COMMANDS = {
    "shards": Command("write, check and look at sharded image sets", "shards write glyphs --out shards/glyphs"),
    "fit": Command("meta-train: one task file, one learner file", "fit --config glyphs.yaml --config protonet.yaml"),
    "validate": Command("meta-validate a checkpoint"),
    "test": Command(
        "meta-test a checkpoint on held-out classes",
        "test --config ... --config ... --ckpt_path best",
    ),
    "compare": Command("several checkpoints on the same episodes", "compare A.ckpt B.ckpt --on shards/glyphs"),
    "tune": Command("search over configurations with Ray Tune", "tune --config ... --config pbt_inner_lr_shots.yaml"),
    "submit": Command("send any of these to a scheduler", "submit slurm --nodes 2 -- fit --config ..."),
    "jobs": Command("list, follow and cancel what was submitted", "jobs list | status ID | logs ID [-f] | cancel ID"),
    "adapt": Command(
        "adapt to new classes from a folder of examples", "adapt --ckpt best.ckpt --support DIR --query DIR"
    ),
    "configs": Command("list the packaged configurations, or print one", "configs maml.yaml"),
    "doctor": Command("check this machine and this installation, with a remedy for each problem", "doctor"),
    "completion": Command("print a script that completes commands and options", "completion bash"),
    "demo": Command("all of the above on made-up handwriting, in minutes", "demo"),
}
USAGE = """usage: lightning-meta COMMAND [options]
       lightning-meta --version

Learn from many small tasks to learn a new one from a few examples.

{commands}

`lightning-meta COMMAND --help` tells more. Any option of a configuration can be given on the command line, for example
`--data.shots 5` or `--model.learner.init_args.inner_lr 0.1`; `--print_config` shows them all.
"""
HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> None:
    """Run a command. A user's mistake ends with one message and status 2; LIGHTNING_META_DEBUG=1 shows the traceback."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in (*HELP, "help"):
        show(usage())
    elif argv == ["--version"]:
        print(f"lightning-meta {version('lightning-meta')}")
    elif argv[-1] in HELP and argv[0] in COMMANDS and (text := rendered(*argv[:-1])):
        show(text)
    else:
        from lightning_meta.cli.running import ending_with_one_message

        with ending_with_one_message(argv):
            run(argv[0], argv[1:])


def usage() -> str:
    lines = (f"  {name:11}  {one.purpose:48}{one.example}".rstrip() for name, one in COMMANDS.items())
    return USAGE.format(commands="\n".join(lines))


def show(text: str) -> None:
    """Print, and end quietly where nobody reads on, as after `| head`."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends
        sys.exit(128 + signal.SIGPIPE)


def rendered(*words: str) -> str | None:
    """Return the help of a command or subcommand, such as `shards`, `index`, as `tools/render_help.py` wrote it, because making
    it anew imports PyTorch and Lightning; None where there is none."""
    if not all(word.isalnum() for word in words):
        return None
    file = files("lightning_meta.cli") / "help" / f"{'-'.join(words)}.txt"
    return file.read_text() if file.is_file() else None


def run(command: str, argv: list[str]) -> None:
    """Import the module of a command, and no other, and run it. Raises InputError if there is no such command."""
    from lightning_meta.core import InputError

    if command == "--version":
        raise InputError(f"--version takes nothing more, and {' '.join(argv)} came")
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"no command {command!r}: {hint}choose from {', '.join(COMMANDS)} (see --help)")
    import_module(f"lightning_meta.cli.{command}").run(argv)
