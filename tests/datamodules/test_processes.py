"""Work in several processes: results in order, nothing left running, and a process that dies is said."""

import os
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
