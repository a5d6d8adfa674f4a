"""Limits to the time that a client library may take: after it, a message instead of a wait without end."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from clusters.core.job import JobError

SILENCE = 60.0  # seconds without a line after which `lines_while` asks whether more can come


class SilentError(JobError):
    """The other side does not answer."""


def call_within(seconds: float, who: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a call returns, or raise what it raises.

    Args:
        seconds: The time that the call may take.
        who: The other side, for the message.
        call: What to call, in a thread of its own.
        arguments: Its arguments.
        options: Its keyword arguments.

    Raises:
        SilentError: It takes longer.
    """
    answer: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def run() -> None:
        try:
            answer.put((True, call(*arguments, **options)))
        except BaseException as error:
            answer.put((False, error))

    Thread(target=run, daemon=True).start()
    try:
        returned, value = answer.get(timeout=seconds)
    except Empty:
        raise SilentError(f"{who} gives no answer within {seconds:g} seconds: try again later") from None
    if not returned:
        raise value
    return value


def lines_while(lines: Iterator[str], going: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a stream that may never end.

    Args:
        lines: The stream.
        going: Asked in each silence whether more can come; it may raise. The stream is left after it has returned False.
    """
    read: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def take() -> None:
        try:
            for line in lines:
                read.put(("line", line))
            read.put(("end", None))
        except BaseException as error:
            read.put(("error", error))

    Thread(target=take, daemon=True).start()
    last = False
    while True:
        try:
            kind, value = read.get(timeout=SILENCE)
        except Empty:
            if last:  # the last lines have had their time to come
                return
            last = not going()
            continue
        if kind == "line":
            yield value
        elif kind == "end":
            return
        else:
            raise value
