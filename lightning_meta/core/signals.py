"""Signals that tell a command to stop, and the exit statuses that say so."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 75  # EX_TEMPFAIL: started again, the run continues
BY_SCHEDULER = (signal.SIGUSR1, signal.SIGTERM)
BY_USER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(SystemExit):
    """A signal ended the command."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


def preemptible() -> bool:
    """Return whether a scheduler restarts a job that exits with status 75; its scripts then set this variable."""
    return os.environ.get("LIGHTNING_META_PREEMPTIBLE") == "1"


@contextmanager
def ending_on_signals(restarted: bool) -> Iterator[None]:
    """Within, signals of the user end the command with StoppedError, so that nothing half-written stays. Those of a
    scheduler end one that can be `restarted` at once, with 75. Processes that are forked within pass them over.

    A signal that was ignored (nohup, a job in the background) stays so. Training takes over with handlers of its own.
    A library may turn what a handler raises into an error of its own (NumPy: "Cannot compare structured arrays"): after a
    signal, every error is the signal's.
    """
    owner = os.getpid()
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        if os.getpid() == owner:
            if restarted and number in BY_SCHEDULER:
                os._exit(AGAIN)
            came.append(number)
            raise StoppedError(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for sign in (*BY_USER, *BY_SCHEDULER) if restarted else BY_USER:
            if sign not in before and signal.getsignal(sign) != signal.SIG_IGN:
                before[sign] = signal.signal(sign, end)
    try:
        yield
    except Exception as error:
        if came:
            raise StoppedError(came[0]) from error
        raise
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Within, signals that Python handles wait, and come at the end. For forks: Python passes over what a handler raises
    in the functions that it calls before and after a fork, so that the signal would be lost."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        came.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for sign in {*BY_USER, *BY_SCHEDULER}:
            if callable(signal.getsignal(sign)):
                before[sign] = signal.signal(sign, note)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        for number in came:
            signal.raise_signal(number)
