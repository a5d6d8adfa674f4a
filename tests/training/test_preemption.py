"""A run that a scheduler stops saves, says so by its status, and goes on with the very next meta-batch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.resumable import BATCHES, EPOCHS, config
from support.runs import curve, lightning_meta, write_yaml

AGAIN = 75
JOB = {"LIGHTNING_META_PREEMPTIBLE": "1", "LIGHTNING_META_RUN": "job-7"}
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")


def fit(folder: Path, *arguments: str, callbacks: list[dict[str, Any]], status: int, **environment: str) -> Path:
    """Fit below `folder`, and return the folder that the job's runs share."""
    folder.mkdir(exist_ok=True)
    packaged = {"class_path": "lightning_meta.training.preemption.Preemption"}
    file = write_yaml(folder / "run.yaml", config([packaged, *callbacks], dropout=0.3))
    done = lightning_meta(folder, "fit", "--config", file, *arguments, **environment)
    assert done.returncode == status, done.stdout + done.stderr
    return folder / "runs" / "run" / "job-7"


def kill(**where: Any) -> dict[str, Any]:
    return {"class_path": "support.runs.Kill", "init_args": where}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return curve(fit(tmp_path_factory.mktemp("unbroken"), callbacks=[], status=0, **JOB), "meta_train/loss")


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"step": 10, "sign": "SIGUSR1"}, marks=pytest.mark.slow),
        # the last of an epoch: stops before the next one
        pytest.param({"step": 2 * BATCHES - 1, "sign": "SIGTERM"}, marks=pytest.mark.slow),
        pytest.param({"epoch": 1, "sign": "SIGTERM"}, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_as_the_unbroken_one(
    where: dict[str, Any], unbroken: dict[int, float], tmp_path: Path
) -> None:
    fit(tmp_path, "--data.num_workers=1", callbacks=[kill(**where)], status=AGAIN, **JOB)
    run = fit(tmp_path, "--data.num_workers=1", callbacks=[], status=0, **JOB)
    assert len(unbroken) == EPOCHS * BATCHES
    assert curve(run, "meta_train/loss") == unbroken
    assert [path.name for path in run.parent.iterdir()] == ["job-7"]


@pytest.mark.slow
def test_two_uneven_processes_stop_together_when_one_has_the_signal(tmp_path: Path) -> None:
    slow = {"class_path": "support.runs.Slow", "init_args": {"seconds": [0.0, 0.05]}}
    whole = fit(tmp_path / "unbroken", *TWO, callbacks=[], status=0, **JOB)
    signal_one = kill(step=9, sign="SIGTERM", rank=1)
    fit(tmp_path / "stopped", *TWO, callbacks=[slow, signal_one], status=AGAIN, **JOB)
    run = fit(tmp_path / "stopped", *TWO, callbacks=[], status=0, **JOB)
    assert curve(run, "meta_train/loss") == curve(whole, "meta_train/loss")


@pytest.mark.slow
def test_without_a_scheduler_a_term_is_a_term(tmp_path: Path) -> None:
    fit(tmp_path, callbacks=[kill(step=3, sign="SIGTERM")], status=128 + signal.SIGTERM)


@pytest.mark.parametrize("sign", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_before_training_asks_for_another_start(sign: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import os, signal, threading, time
os.environ.update({JOB})
import lightning_meta.cli as cli
def send():
    while signal.getsignal({int(sign)}) is signal.SIG_DFL:
        time.sleep(0.01)
    os.kill(os.getpid(), {int(sign)})
threading.Thread(target=send, daemon=True).start()
cli.main(['fit', '--config', 'sinusoid-maml.yaml', '--trainer.max_epochs', '1000'])
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), check=False, timeout=60)
    assert done.returncode == AGAIN
    assert time.monotonic() - started < 30
