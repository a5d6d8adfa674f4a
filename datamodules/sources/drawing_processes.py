"""A function applied to many items in several processes, in order, with a progress bar and bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

from rich.progress import track

from lightning_meta.core import InputError
from lightning_meta.core.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # results for each process that may wait for their turn


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int | None, title: str
) -> Iterator[Result]:
    """Yield the result of `function` for each item, in order.

    Args:
        function: A function of a module, whose arguments and results can be pickled.
        items: The items.
        processes: Number of processes; by default one for each core. With 1, or one item, this process does it.
        title: Name of the items beside the progress bar.

    Raises:
        InputError: If a process ended before its work was done.
    """
    count = min(usable_cores() if processes is None else processes, len(items))
    yield from track(map(function, items) if count <= 1 else _parallel(function, items, count), title, len(items))


def _parallel(function: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[Result]:
    others = set(active_children())
    # A fork could copy a lock that a thread of this process holds, such as that of the progress bar.
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        waiting = deque[Future[Result]]()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process ended before its work was done: there may be too little memory, or a script calls this outside of"
                " `if __name__ == '__main__':`. Try again with fewer processes, or with processes 1"
            ) from error
        finally:
            if waiting:  # it was stopped: nobody waits for what is being done
                for process in set(active_children()) - others:
                    process.terminate()
