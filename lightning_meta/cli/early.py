"""Signals that come before training can save anything: the run ends at once, and asks to be started again."""

import os
import signal
from types import FrameType

AGAIN = 75  # EX_TEMPFAIL: started again, the run goes on
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


def preemptible() -> bool:
    """Whether a scheduler takes the exit status 75 for `start me again`; its scripts set this variable."""
    return os.environ.get("LIGHTNING_META_PREEMPTIBLE") == "1"


def end_on_signals() -> None:
    """Until training takes over the signals, end with 75. Processes that are forked until then pass them over."""
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        if os.getpid() == owner:
            os._exit(AGAIN)

    for sign in SIGNALS:
        signal.signal(sign, end)
