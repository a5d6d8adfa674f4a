"""A killed run goes on with the very next meta-batch, as if it had never been killed."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from support.resumable import BATCHES, EPOCHS, config, state
from support.runs import curve, lightning_meta, write_yaml


def fit(folder: Path, *arguments: str, kill: dict[str, Any] | None = None, dropout: float = 0.3) -> Path:
    """Fit below `folder`, with or without a kill on the way, and return the run's folder."""
    folder.mkdir(exist_ok=True)
    callbacks = [{"class_path": "support.runs.Kill", "init_args": kill}] if kill else []
    file = write_yaml(folder / "run.yaml", config(callbacks, dropout))
    done = lightning_meta(folder, "fit", "--config", file, *arguments)
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
    return folder / "runs" / "run" / "version_0"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("unbroken"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "workers", "first"),
    [
        ({"step": 11}, "0", 9),  # two steps after the last that was saved
        pytest.param({"step": 14}, "2", 12, marks=pytest.mark.slow),
        pytest.param({"epoch": 2}, "0", 2 * BATCHES, marks=pytest.mark.slow),
        pytest.param({"step": BATCHES}, "2", BATCHES, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_continues_like_an_unbroken_one(
    kill: dict[str, Any], workers: str, first: int, unbroken: Path, tmp_path: Path
) -> None:
    workers = f"--data.num_workers={workers}"
    fit(tmp_path, workers, kill=kill)
    for file in (tmp_path / "runs/run/version_0").glob("events*"):
        file.unlink()  # so that only the resumed run's points are read
    run = fit(tmp_path, workers, "--ckpt_path", "last")
    whole = curve(unbroken, "meta_train/loss")
    assert len(whole) == EPOCHS * BATCHES
    assert curve(run, "meta_train/loss") == {step: loss for step, loss in whole.items() if step >= first}
    assert all(torch.equal(weight, state(unbroken)[name]) for name, weight in state(run).items())
