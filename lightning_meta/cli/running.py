"""End a command with one message and an exit status, whatever stopped it."""

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_meta.core import InputError
from lightning_meta.core.allocator import keep_freed_memory
from lightning_meta.core.files import REMEDIES
from lightning_meta.core.signals import StoppedError, ending_on_signals, preemptible


@contextmanager
def ending_with_one_message(argv: list[str]) -> Iterator[None]:
    """End a command on an error of the user's, a full disk, a reader that left or a signal, as a command should."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show ends no command
    keep_freed_memory()
    threading.excepthook = thread_failed
    try:
        with ending_on_signals(restarted=preemptible() and argv[0] in ("fit", "validate", "test")):
            check_text(argv)
            yield
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
    """Return whether the reader of this command's output has left, as after `| head`."""
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
