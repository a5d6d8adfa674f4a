"""Work in several processes: results in order, nothing left running, and a process that dies is said."""

import os
import signal
import time
from multiprocessing import active_children

import pytest

from datamodules.reading.processes import in_processes
from lightning_meta.core import InputError


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order(processes: int) -> None:
    assert list(in_processes(str, range(7), processes, "numbers")) == list("0123456")
    assert not active_children()


def test_stopping_ends_the_work_under_way() -> None:
    results = in_processes(time.sleep, [0.0, *[600.0] * 5], 2, "naps")
    next(results)
    assert active_children()
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert not active_children()


def test_a_process_that_dies_is_said_in_one_line() -> None:
    with pytest.raises(
        InputError, match=r"a process ended before its work was done: .* Try again with fewer processes"
    ):
        list(in_processes(os._exit, [1, 1, 1], 2, "exits"))
    assert not active_children()


def test_a_signal_during_a_fork_is_not_lost() -> None:
    """Python passes over what a handler raises in a function that it calls after a fork."""
    os.register_at_fork(after_in_parent=interrupt_once)
    interrupts.append(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(str, range(4), 2, "numbers"))
    assert not active_children()
    assert not interrupts


interrupts: list[signal.Signals] = []


def interrupt_once() -> None:
    while interrupts:
        signal.raise_signal(interrupts.pop())
