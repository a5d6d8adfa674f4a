"""One command: lightning-meta."""

import difflib
import io
import os
import select
import signal
import sys
import threading

from lightning_meta.core import InputError
from lightning_meta.core.allocator import keep_freed_memory
from lightning_meta.core.files import REMEDIES
from lightning_meta.core.signals import StoppedError, ending_on_signals, preemptible

HELP = """usage: lightning-meta COMMAND [options]

Learn from many small tasks to learn a new one from a few examples.

  shards     write, check and look at sharded image sets     lightning-meta shards write glyphs --out shards/glyphs
  fit        meta-train: one task file, one learner file     lightning-meta fit --config glyphs.yaml --config protonet.yaml
  validate   meta-validate a checkpoint
  test       meta-test a checkpoint on held-out classes      lightning-meta test --config ... --config ... --ckpt_path best
  compare    several checkpoints on the same episodes        lightning-meta compare A.ckpt B.ckpt --on shards/glyphs
  tune       search over configurations with Ray Tune        lightning-meta tune --config ... --config pbt_inner_lr_shots.yaml
  submit     send any of these to a scheduler                lightning-meta submit slurm --nodes 2 -- fit --config ...
  jobs       list, follow and cancel what was submitted      lightning-meta jobs list | status ID | logs ID [-f] | cancel ID
  adapt      adapt to new classes from a folder of examples  lightning-meta adapt --ckpt best.ckpt --support DIR --query DIR
  configs    list the packaged configurations, or print one   lightning-meta configs maml.yaml
  demo       all of the above on made-up handwriting, in minutes

`lightning-meta COMMAND --help` tells more. Any option of a configuration can be given on the command line, for example
`--data.shots 5` or `--model.learner.init_args.inner_lr 0.1`; `--print_config` shows them all.
"""


def main(argv: list[str] | None = None) -> None:
    """Run a command. A user's mistake ends with one message and status 2; LIGHTNING_META_DEBUG=1 shows the traceback."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show ends no command
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    keep_freed_memory()
    threading.excepthook = thread_failed
    try:
        with ending_on_signals(restarted=preemptible() and argv[0] in ("fit", "validate", "test")):
            check_text(argv)
            run(argv[0], argv[1:])
            sys.stdout.flush()
    except InputError as error:
        fail(str(error))
    except BrokenPipeError:
        if not reader_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        fail(f"cannot use {error.filename or 'the output of this command'} ({error.strerror}): {REMEDIES[error.errno]}")
    except StoppedError as stopped:
        print(f"lightning-meta: stopped by {stopped.signal}", file=sys.stderr)
        raise


def check_text(argv: list[str]) -> None:
    """Raise InputError for an argument that is not valid text, which a configuration could not hold. Names of files inside a
    folder may be any bytes."""
    for given in argv:
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the argument {os.fsencode(given)!r} is not valid {sys.getfilesystemencoding()}, the encoding in use: rename"
                " the file, or give a link to it whose name is valid"
            ) from error


def thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Say nothing of TensorBoard's writers on a full disk: the thread that waits for them raises their error again."""
    theirs = type(failed.thread).__module__.startswith("tensorboard.")
    if not (theirs and isinstance(failed.exc_value, OSError) and failed.exc_value.errno in REMEDIES):
        threading.__excepthook__(failed)


def fail(message: str) -> None:
    """End with one message or, where it is asked for, with the traceback of the error at hand."""
    if os.environ.get("LIGHTNING_META_DEBUG"):
        raise
    print(f"lightning-meta: error: {message}", file=sys.stderr)
    sys.exit(2)


def reader_left() -> bool:
    """Whether nobody reads any more what this command prints, as after `| head`."""
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def run(command: str, argv: list[str]) -> None:
    """Import what the command needs, and no more: `shards` starts without Lightning."""
    if command in ("fit", "validate", "test"):
        from lightning_meta.cli.train import run as train

        train(command, argv)
    elif command == "shards":
        from lightning_meta.cli.shards import run as shards

        shards(argv)
    elif command == "adapt":
        from lightning_meta.cli.adapt import run as adapt

        adapt(argv)
    elif command == "compare":
        from lightning_meta.cli.compare import run as compare

        compare(argv)
    elif command == "tune":
        from lightning_meta.config.extras import need

        need("search", only_say=bool({"-h", "--help"} & set(argv)))
        from lightning_meta.cli.tune import run as tune

        tune(argv)
    elif command == "submit":
        from lightning_meta.cli.submit import run as submit

        submit(argv)
    elif command == "jobs":
        from lightning_meta.cli.jobs import run as jobs

        jobs(argv)
    elif command == "configs":
        from lightning_meta.config.merge import run as configs

        configs(argv)
    elif command == "demo":
        from lightning_meta.cli.demo import run as demo

        demo(argv)
    elif command == "--version":
        if argv:
            raise InputError(f"--version takes nothing more, and {' '.join(argv)} came")
        from importlib.metadata import version

        print(f"lightning-meta {version('lightning-meta')}")
    else:
        commands = (
            "shards",
            "fit",
            "validate",
            "test",
            "compare",
            "tune",
            "submit",
            "jobs",
            "adapt",
            "configs",
            "demo",
        )
        close = difflib.get_close_matches(command, commands, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"no command {command!r}: {hint}choose from {', '.join(commands)} (see --help)")
