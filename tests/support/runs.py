"""Real runs of the command line, for tests: start one, read its curve, kill it at a chosen moment."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from support.paths import PYTHONPATH

QUICK = "--trainer.max_epochs 1 --data.epoch_batches 4 --data.val_episodes 6 --trainer.enable_progress_bar false"
QUICK += " --trainer.accelerator cpu --trainer.log_every_n_steps 1"
GLYPHS = "--config glyphs.yaml --config protonet.yaml"


class NoisyMLP(nn.Sequential):
    """A backbone with running statistics, and with noise of its own where dropout > 0."""

    def __init__(self, inputs: int = 1, width: int = 8, dropout: float = 0.0):
        layers = (nn.Flatten(), nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout))
        super().__init__(*layers)
        self.out_features = width


class Kill(Callback):
    """kill -9 at the start of a training step (counted from 0), of an epoch, or of a test's batch; of one process among
    several."""

    def __init__(self, step: int = -1, epoch: int = -1, sign: str = "SIGKILL", rank: int = 0, tested: int = -1):
        self.step, self.epoch, self.signal, self.rank, self.tested = step, epoch, signal.Signals[sign], rank, tested

    def on_test_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.test_loop.batch_progress.current.started == self.tested and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.signal)

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.signal)

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.signal)


class Slow(Callback):
    """Each process takes its own time for a step, in seconds."""

    def __init__(self, seconds: list[float]):
        self.seconds = seconds

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        time.sleep(self.seconds[trainer.global_rank])


def lightning_meta(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `lightning-meta ARGUMENTS` below `cwd` in a process of its own."""
    return python(cwd, "-m", "lightning_meta", *arguments, **environment)


def run(folder: Path, command: str, status: int = 0) -> str:
    """Run `lightning-meta COMMAND` as a process of its own; its output."""
    done = lightning_meta(folder, *shlex.split(command))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def python(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` below `cwd`, on one thread; it can import what the tests can."""
    paths = [PYTHONPATH, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-X", "faulthandler", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # each process of the run writes where it stands
            out, err = process.communicate()
            pytest.fail(f"{command} still runs after 300 seconds:\n{out}\n{err}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def curve(run: Path, tag: str) -> dict[int, float]:
    """A scalar's curve, by step, from the event files that a run wrote."""
    points: dict[int, float] = {}
    for file in sorted(run.glob("events*")):
        events = EventAccumulator(str(file)).Reload()
        if tag in events.Tags()["scalars"]:
            points |= {event.step: event.value for event in events.Scalars(tag)}
    return points


def write_yaml(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config))
    return str(path)
