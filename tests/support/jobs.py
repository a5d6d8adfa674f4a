"""Jobs on this machine."""

import time
from pathlib import Path
from typing import Any

import pytest

from clusters.core.job import Job, Status
from clusters.local.backend import Local
from support.runs import lightning_meta

QUICK = "--trainer.max_epochs 1 --data.epoch_batches 4 --data.val_episodes 6 --trainer.enable_progress_bar false"


FIT = ("fit", "--config", "sinusoid-maml.yaml", *QUICK.split(), "--trainer.accelerator", "cpu")


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of jobs of the test's own."""
    monkeypatch.setenv("LIGHTNING_META_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("LIGHTNING_META_PROFILES", str(tmp_path / "profiles.yaml"))
    return tmp_path / "jobs"


def job(where: Path, *command: str, **more: Any) -> Job:
    return Job("try", command or ("fit", "--config", "glyphs.yaml"), where / "jobs" / "try-1", where, **more)


def cli(where: Path, *arguments: str, status: int = 0) -> str:
    done = lightning_meta(where, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def ended(id: str, where: Path, seconds: float = 90) -> Status:
    end = time.monotonic() + seconds
    while (status := Local().status(id, where)).state == "running":
        assert time.monotonic() < end, (where / "log.txt").read_text()
        time.sleep(0.1)
    return status
