"""Fetching of what comes next in a sequence, by a thread, while what came before is used."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from lightning_meta.core import InputError

Fetch = Callable[[list[int]], None]


def fetched_ahead(numbers: Iterator[int], fetch: Fetch, window: int) -> Iterator[int]:
    """Yield numbers as they are, each after a thread has fetched it and begun to fetch those that follow.

    The thread starts with the first number, in the process that asks for it, and ends with the iteration: after the last
    number, when the iterator is closed or dropped, and with the process, which it never keeps from ending.

    Args:
        numbers: The numbers, such as those of meta-batches.
        fetch: Fetches everything that some numbers stand for. Where it raises InputError or OSError, the numbers are yielded
            all the same: whoever reads what they stand for fetches it then, or raises the error where it belongs.
        window: How many numbers after the one that is used are fetched, 1 or more.

    Raises:
        Exception: If `fetch` raises anything else.
    """
    fetcher, waiting = Fetcher(fetch), deque[int]()
    try:
        while True:
            for number in islice(numbers, window + 1 - len(waiting)):
                waiting.append(number)
                fetcher.ask(number)
            if not waiting:
                return
            fetcher.wait_for(waiting[0])
            yield waiting.popleft()
    finally:
        fetcher.stop()


class Fetcher:
    """A thread that fetches what was asked for: all that waits at a time, so that one round to a server serves several.

    Args:
        fetch: Fetches everything that some numbers stand for.
    """

    def __init__(self, fetch: Fetch):
        self.fetch, self.process = fetch, os.getpid()
        self._changed = threading.Condition()
        self._asked, self._unfinished = list[int](), set[int]()
        self._failed: Exception | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="look ahead", daemon=True)
        self._thread.start()

    def ask(self, number: int) -> None:
        """Have a number fetched."""
        with self._changed:
            self._asked.append(number)
            self._unfinished.add(number)
            self._changed.notify_all()

    def wait_for(self, number: int) -> None:
        """Return when a number was fetched, or could not be for a reason of the network or disk; raise any other error."""
        with self._changed:
            self._changed.wait_for(lambda: number not in self._unfinished or self._failed)
            if self._failed:
                raise self._failed

    def stop(self) -> None:
        """Let the thread end after its present fetch. A fork of the process that began it has no such thread."""
        if os.getpid() == self.process:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()

    def _run(self) -> None:
        while numbers := self._next():
            try:
                self.fetch(numbers)
            except (InputError, OSError):
                pass  # the reader meets the same error, if it lasts, at the number that it belongs to
            except Exception as error:
                self._failed = error
            with self._changed:
                self._unfinished.difference_update(numbers)
                self._changed.notify_all()

    def _next(self) -> list[int]:
        """Return all numbers that wait, as soon as there are any; none if the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._is_stopped or self._failed)
            if self._is_stopped or self._failed:
                return []
            numbers, self._asked = self._asked, []
            return numbers
