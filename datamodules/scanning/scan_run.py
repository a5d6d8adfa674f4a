"""A scan of many units in several processes, which shows its progress and can be continued after a kill."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.reading.processes import START, begin_process
from datamodules.scanning.units import Unit, scan_unit
from lightning_meta.core import InputError
from lightning_meta.core.cores import usable_cores
from lightning_meta.core.signals import deferring_signals

INTERVAL = 0.2  # seconds between two looks at the progress
AHEAD = 4  # units per process that are handed over before they are needed
IMAGE = 2**14  # bytes of an image file, about
WHAT = ("reading", "image files")  # what each of the two bars counts: bytes of tars and parquet files, and files
LITTLE = 2**26  # bytes that are read before other processes would have started

Show = Callable[[int, int], None]  # it is called with the bytes and the image files that have been read


class StoppedError(Exception):
    """The scan has failed elsewhere, so that this unit is no longer wanted."""


_shared: list[Any] = []  # in a worker: the bytes and the image files read by all, and whether to stop


def scan_all(units: Sequence[Unit], folder: Path, workers: int) -> int:
    """Scan units, and keep the result of each in `folder`.

    Args:
        units: The units.
        folder: The folder of what is kept.
        workers: Number of processes; with 1, this one.

    Returns:
        The number of units that were scanned and not found there.

    Raises:
        InputError: For the first unit that cannot be scanned.
    """
    files = sum(unit.amount for unit in units if unit.format != "images")
    images = sum(unit.amount for unit in units if unit.format == "images")
    bars = [
        Progress(TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(), disable=not total)
        for amount, total in ((DownloadColumn(), files), (MofNCompleteColumn(), images))
    ]
    tasks = [bar.add_task(what, total=total) for bar, what, total in zip(bars, WHAT, (files, images), strict=True)]

    def show(*done: int) -> None:
        for bar, task, count in zip(bars, tasks, done, strict=True):
            bar.update(task, completed=count)

    with ExitStack() as stack:
        pool = None if workers == 1 or len(units) == 1 else stack.enter_context(_Pool(min(workers, len(units))))
        shown = Group(*(bar for bar, total in zip(bars, (files, images), strict=True) if total))
        stack.enter_context(Live(shown, refresh_per_second=5))  # its thread begins after the processes
        scanned = pool.scan(units, folder, show) if pool else _here(units, folder, show)
        show(files, images)
    if not sys.stdout.isatty():
        print()  # the bars end without a line feed
    return scanned


def _here(units: Sequence[Unit], folder: Path, show: Show) -> int:
    done = [0, 0]

    def report(count: int) -> None:
        done[is_list] += count
        show(*done)

    scanned = 0
    for unit in units:
        is_list = unit.format == "images"
        scanned += scan_unit(unit, folder, report)
    return scanned


class _Pool:
    """Processes that scan."""

    def __init__(self, workers: int):
        context = multiprocessing.get_context(START)
        self.read, self.stop = context.Array("Q", 2), context.Value("b", 0)
        self.ahead = AHEAD * workers
        self.pool = ProcessPoolExecutor(workers, context, _begin, (self.read, self.stop))

    def __enter__(self) -> "_Pool":
        with deferring_signals():
            first = self.pool.submit(os.getpid)
        first.result()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop.value = kind is not None
        self.pool.shutdown(cancel_futures=True)

    def scan(self, units: Sequence[Unit], folder: Path, show: Show) -> int:
        """Scan units, and return the number of those that were not kept from before."""
        scanned, left, running = 0, iter(units), set[Future[bool]]()
        try:
            while True:
                for unit in left:
                    running.add(self.pool.submit(_scan, unit, folder))
                    if len(running) >= self.ahead:
                        break
                if not running:
                    return scanned
                done, running = wait(running, INTERVAL, FIRST_COMPLETED)
                scanned += sum(future.result() for future in done)
                show(*self.read)
        except BrokenProcessPool as error:
            raise InputError(
                "a process that scanned was killed, perhaps because the memory was full: try fewer, --workers 1 for example"
            ) from error


def _scan(unit: Unit, folder: Path) -> bool:
    """Scan a unit in a worker."""
    read, stop = _shared
    is_list = unit.format == "images"

    def report(count: int) -> None:
        if stop.value:
            raise StoppedError
        with read.get_lock():
            read[is_list] += count

    return scan_unit(unit, folder, report)


def _begin(*shared: Any) -> None:
    """Prepare a process that scans."""
    _shared[:] = shared
    begin_process()


def default_workers(units: Sequence[Unit]) -> int:
    """Return the number of processes to use: one per CPU, four per CPU for files at URLs, and no more than are useful."""
    remote = any(unit.remote for unit in units)
    if not remote and sum(unit.amount * (IMAGE if unit.format == "images" else 1) for unit in units) < LITTLE:
        return 1
    cpus = usable_cores()
    return max(1, min(len(units), 4 * cpus if remote else cpus, 64))
