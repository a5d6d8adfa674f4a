"""Calls and streams of libraries that may wait for ever: given up after a time, with a message."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from clusters.core.job import JobError

SILENCE = 60.0  # seconds of a stream after which it is asked whether there is anything to wait for


class SilentError(JobError):
    """Nobody answers."""


def within(seconds: float, what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call returns or raises; SilentError that `what` gives no answer where that takes longer."""
    answer: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put((True, call(*arguments, **options)))
        except BaseException as error:
            answer.put((False, error))

    Thread(target=ask, daemon=True).start()
    try:
        returned, value = answer.get(timeout=seconds)
    except Empty:
        raise SilentError(f"{what} gives no answer within {seconds:g} seconds: try again later") from None
    if not returned:
        raise value
    return value


def watched(lines: Iterator[str], going: Callable[[], bool]) -> Iterator[str]:
    """The lines of a stream. In each silence `going` is asked, which may raise, and the stream is left where it is not."""
    read: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def take() -> None:
        try:
            for line in lines:
                read.put(("line", line))
            read.put(("end", None))
        except BaseException as error:
            read.put(("error", error))

    Thread(target=take, daemon=True).start()
    ends = False
    while True:
        try:
            kind, value = read.get(timeout=SILENCE)
        except Empty:
            if ends:  # what it printed last has had its time to come
                return
            ends = not going()
            continue
        if kind == "line":
            yield value
        elif kind == "end":
            return
        else:
            raise value
