"""A scheduler wants the machine back: save, stop, and say so by the exit status."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

AGAIN = 75
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class PreemptedError(SystemExit):
    """The run was told to stop and has saved what it needs to go on."""


class Preemption(Callback):
    """Under a scheduler (LIGHTNING_META_PREEMPTIBLE=1), SIGUSR1 or SIGTERM ends training with a checkpoint and status 75.

    The signal's handler only sets a flag. Processes agree on it after a training step, all of them after the same one, so
    that none waits for another that has left. In a validation the signal waits until the first step after it.

    Args:
        every_n_steps: several processes ask each other so often; one process looks after each step.
    """

    def __init__(self, every_n_steps: int = 5):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}: give 1 or more")
        self.every, self.signalled, self.stopping = every_n_steps, False, False
        self.before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if stage != "fit" or os.environ.get("LIGHTNING_META_PREEMPTIBLE") != "1":
            return
        if threading.current_thread() is not threading.main_thread():
            return
        # Lightning's handlers talk to the other processes from within, which may be waiting for this one in another call
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        owner = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.signalled |= os.getpid() == owner  # workers of a loader, forked, pass the signal over

        self.before = {sign: signal.signal(sign, note) for sign in SIGNALS}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        for sign, handler in self.before.items():
            signal.signal(sign, handler)
        self.before = {}

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if trainer.is_last_batch or done % trainer.accumulate_grad_batches:
            return  # the end of the epoch is next, or gradients that no checkpoint holds are under way
        if trainer.world_size == 1 or done // trainer.accumulate_grad_batches % self.every == 0:
            self.agree(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.leave_if_agreed(trainer)
        self.agree(trainer)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.leave_if_agreed(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.leave_if_agreed(trainer)

    def on_validation_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.leave_if_agreed(trainer)

    def agree(self, trainer: Trainer) -> None:
        """If any process has the signal, all save. They leave at the next hook, when this step's curves are written."""
        if not self.before or not trainer.strategy.reduce_boolean_decision(self.signalled, all=False):
            return
        path = last_checkpoint(trainer)
        trainer.save_checkpoint(path, weights_only=False)
        self.stopping = True
        for sign in SIGNALS:  # there is no more to do than to leave, which a second signal must not disturb
            signal.signal(sign, signal.SIG_IGN)
        rank_zero_info(f"told to stop: saved step {trainer.global_step} in {path}")

    def leave_if_agreed(self, trainer: Trainer) -> None:
        if self.stopping:
            started_here = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
            # Lightning kills the process that started this one, were its status not 0
            raise PreemptedError(0 if started_here and trainer.local_rank else AGAIN)


def last_checkpoint(trainer: Trainer) -> Path:
    """Where `--ckpt_path last` looks."""
    folders = [c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]
    return Path(folders[0] if folders else Path(trainer.default_root_dir, "checkpoints"), "last.ckpt")
