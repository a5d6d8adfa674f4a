"""Common parts of the benchmarks: interleaved timing, rows, and their printing."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one thread a contender


class Row(NamedTuple):
    """item: what is done and in which unit; ours, peer: rates; ratio: ours / peer; limit: the rate the machine allows."""

    item: str
    ours: float
    peer: float
    ratio: float
    limit: float


def race(item: str, ours: Callable[[], int], peer: Callable[[], int], limit: float, repeats: int) -> Row:
    """Time both in turn, `repeats` times, in process CPU seconds; each call returns how many units it did. Medians."""
    rates: tuple[list[float], list[float]] = ([], [])
    for contender in (ours, peer):
        contender()  # warm up
    for _ in range(repeats):
        for contender, rate in zip((ours, peer), rates, strict=True):
            start = time.process_time()
            units = contender()
            rate.append(units / (time.process_time() - start))
    a, b = (statistics.median(rate) for rate in rates)
    return Row(item, a, b, a / b, limit)


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print rows as JSON: item, ours, peer, ratio, limit")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    return parser.parse_args()


def show(rows: list[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    print(f"{'item':60}{'ours':>10}{'peer':>10}{'ratio':>8}{'limit':>10}")
    for row in rows:
        print(f"{row.item:60}{row.ours:10.4g}{row.peer:10.4g}{row.ratio:8.2f}{row.limit:10.4g}")
