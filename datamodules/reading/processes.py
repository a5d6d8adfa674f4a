"""A function applied to many items in several processes, in order, with a progress bar and bounded memory."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from rich.progress import track

from lightning_meta.core import InputError
from lightning_meta.core.cores import usable_cores
from lightning_meta.core.signals import deferring_signals

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # results for each process that may wait for their turn
START = (
    "fork" if sys.platform == "linux" else "spawn"
)  # a fork needs no imports, and works in a script without a main guard


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int | None, title: str | None
) -> Iterator[Result]:
    """Yield the result of `function` for each item, in order.

    Args:
        function: A function of a module, whose arguments and results can be pickled.
        items: The items.
        processes: Number of processes; by default one for each core. With 1, or one item, this process does it.
        title: Name of the items beside the progress bar; None for no bar.

    Raises:
        InputError: If a process ended before its work was done.
    """
    count = min(usable_cores() if processes is None else processes, len(items))
    if count <= 1:
        yield from _tracked(map(function, items), title, len(items))
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(count, multiprocessing.get_context(START), begin_process) as pool:
        try:
            # Begun before the thread of the progress bar: a fork could copy a lock that it holds.
            with deferring_signals():
                pool.submit(os.getpid)
            yield from _tracked(_results(pool, function, items, AHEAD * count), title, len(items))
        except BrokenProcessPool as error:
            raise InputError(
                "a process ended before its work was done: there may be too little memory, or a script calls this outside of"
                " `if __name__ == '__main__':`. Try again with fewer processes, or with processes 1"
            ) from error
        except BaseException:  # stopped, or failed: nobody waits for what is being done
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _tracked(results: Iterator[Result], title: str | None, count: int) -> Iterable[Result]:
    return results if title is None else track(results, title, count)


def begin_process() -> None:
    """Prepare a process that works for another: it leaves Ctrl-C to its parent, and ends when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _results(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    waiting = deque[Future[Result]]()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
