"""The remains of a search: its table, its choice, and a history that a kill or a full disk cannot damage."""

import resource
from pathlib import Path
from typing import Any

import pytest

from lightning_meta.search.report import choice, in_a_line, rows, table
from lightning_meta.search.space import Dimension
from lightning_meta.search.storage import append, mend

RATE = "model.learner.init_args.inner_lr"
ONE, FIVE = "meta_val/shots/1/error", "meta_val/shots/5/error"
TRAINER = {"max_epochs": 4}


def line(trial: str, epoch: int, one: float, five: float, failed: str | None = None) -> dict[str, Any]:
    metrics = {ONE: one, FIVE: five}
    score = {"metric": "accuracy", "mean": 1 - (one + five) / 2, "ci95": 0.01}
    place = {"epoch": epoch, "seconds": float(epoch), "checkpoint": f"checkpoint_{epoch}"}
    return {"trial": trial, "values": {RATE: 0.1}, "metrics": metrics, "score": score, "failed": failed, **place}


def test_of_several_objectives_the_front_is_marked_and_the_least_mean_wins() -> None:
    history = [line("a", 1, 0.5, 0.3), line("b", 1, 0.4, 0.1), line("c", 1, 0.1, 0.6), line("d", 1, 1e9, 1e9, "nan")]
    found = rows(history, [ONE, FIVE], dict.fromkeys("abcd"), TRAINER)
    assert [row.trial for row in found] == ["b", "c", "a", "d"]
    assert [row.front for row in found] == [True, True, False, False]  # b is better than a in both
    said = choice(found, [ONE, FIVE])
    assert said == "b is the best of 4 trials by the mean of shots/1/error and shots/5/error; on the Pareto front: b, c"
    heads, *cells = table(found, [Dimension(RATE, "loguniform", [0.01, 1.0])], "accuracy", [ONE, FIVE])
    assert heads[3:6] == ["shots/1/error", "shots/5/error", "front"]
    assert [row[3:6] for row in cells] == [
        ["0.4000", "0.1000", "*"],
        ["0.1000", "0.6000", "*"],
        ["0.5000", "0.3000", ""],
        ["", "", ""],
    ]
    assert choice(found, [ONE]) == "b is the best of 4 trials"


def test_of_equal_validations_the_last_counts_whose_checkpoint_is_kept() -> None:
    history = [line("a", epoch, error, error) for epoch, error in ((1, 0.2), (2, 0.1), (3, 0.1), (4, 0.3))]
    (row,) = rows(history, [ONE], {"a": None}, TRAINER)
    assert (row.epoch, row.checkpoint) == (3, "checkpoint_3")


def test_why_a_worker_died_is_said_in_a_line() -> None:
    killed = "The actor died.\n  1 worker(s) were killed due to the node running low on memory.\n\nSet RAY_x."
    assert in_a_line(killed) == "1 worker(s) were killed due to the node running low on memory."
    assert in_a_line("ray::ImplicitFunc.train()\n  File 'x'\nOSError: [Errno 5] Input/output error\n").startswith(
        "OSError"
    )


def test_a_line_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append(path, '{"a": 1}')
    with path.open("a") as file:
        file.write('{"a": ')  # killed here
    mend(path)
    append(path, '{"a": 2}')
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # room for two bytes of the next line
    try:
        with pytest.raises(OSError, match="too large"):
            append(path, '{"a": 3}')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n'
