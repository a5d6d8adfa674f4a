"""Told to stop, by a scheduler or by the user: save, stop, and say so by the exit status."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_meta.core.signals import AGAIN, BY_SCHEDULER, BY_USER, preemptible
from lightning_meta.training.run_checkpoints import LastCheckpoint


class PreemptedError(SystemExit):
    """The run stopped on a signal. `saved` is the checkpoint from which a fit continues."""

    def __init__(self, status: int, saved: Path | None):
        super().__init__(status)
        self.saved = saved


class Preemption(Callback):
    """A signal ends a run after the step that it is in, a fit with a checkpoint.

    Under a scheduler (LIGHTNING_META_PREEMPTIBLE=1), SIGUSR1 and SIGTERM end with status 75, by which its script starts the
    run again: a fit continues, a test starts over. Else SIGINT (Ctrl-C), SIGTERM and SIGHUP end with 128 and the number of
    the signal; a second SIGINT leaves at once.

    The signal's handler only sets a flag. Processes agree on it after a step, all of them after the same one, so that none
    waits for another that has left. In a validation of a fit the signal waits until the first step after it.

    Args:
        every_n_steps: several processes ask each other so often; one process looks after each step.
    """

    def __init__(self, every_n_steps: int = 5):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}: give 1 or more")
        self.every, self.signalled, self.stopping = every_n_steps, 0, 0
        self.saved: Path | None = None
        self.before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if threading.current_thread() is not threading.main_thread():
            return
        owner, scheduled = os.getpid(), preemptible()

        def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            if os.getpid() != owner:
                return  # workers of a loader, forked, pass the signal over
            if number == self.signalled == signal.SIGINT:
                leave_at_once(trainer)
            self.signalled = self.signalled or number
            if number == signal.SIGINT and trainer.local_rank == 0:
                os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")

        for sign in dict.fromkeys((*BY_SCHEDULER, *BY_USER) if scheduled else BY_USER):
            if signal.getsignal(sign) != signal.SIG_IGN:  # nohup
                self.before[sign] = signal.signal(sign, note)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        for sign, handler in self.before.items():
            signal.signal(sign, handler)
        missed, self.before = self.signalled if stage != "fit" and not self.stopping else 0, {}
        if missed:  # after the last batch
            signal.raise_signal(missed)

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

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.after_evaluating(trainer, trainer.validate_loop)

    def on_test_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.after_evaluating(trainer, trainer.test_loop)

    def after_evaluating(self, trainer: Trainer, loop: Any) -> None:
        if trainer.world_size == 1 or loop.batch_progress.current.ready % self.every == 0:
            self.agree(trainer)
            self.leave_if_agreed(trainer)

    def agree(self, trainer: Trainer) -> None:
        """If any process has a signal, all stop; those that fit save, and leave at the next hook, when this step's curves
        are written."""
        if (
            not self.before and trainer.world_size == 1
        ):  # in a thread, which signals do not reach; others may be reached
            return
        number = torch.tensor(self.signalled, device=trainer.strategy.root_device)
        self.stopping = int(trainer.strategy.reduce(number, reduce_op="max"))
        if not self.stopping:
            return
        if trainer.state.fn == TrainerFn.FITTING:
            self.saved = last_checkpoint(trainer)
            trainer.save_checkpoint(self.saved, weights_only=False)
            rank_zero_info(f"stopping on a signal: saved step {trainer.global_step} in {self.saved}")
        for sign in self.before:  # there is no more to do than to leave, which another signal must not disturb
            signal.signal(sign, signal.SIG_IGN)

    def leave_if_agreed(self, trainer: Trainer) -> None:
        if self.stopping:
            again = preemptible() and self.stopping in BY_SCHEDULER
            raise PreemptedError(0 if launched(trainer) else AGAIN if again else 128 + self.stopping, self.saved)


def launched(trainer: Trainer) -> bool:
    """Return whether another process of the run started this one. Lightning would kill that process if this one failed."""
    started_here = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
    return started_here and trainer.local_rank > 0


def own_signals(trainer: Trainer) -> None:
    """Take signals and checkpoints from Lightning's hands in every stage.

    On Slurm its handlers would put the job back into the queue by themselves, whatever its limit, and leave
    hpc_ckpt_N.ckpt in the working directory, from which every later run there would start. Elsewhere they talk to the other
    processes from within, which may be waiting for this one in another call.
    """
    trainer._signal_connector.register_signal_handlers = nothing  # type: ignore[method-assign]
    trainer._checkpoint_connector._parse_ckpt_path = as_given  # type: ignore[method-assign]
    if SLURMEnvironment.detect():
        for left in sorted(Path().glob("hpc_ckpt_*.ckpt")):
            rank_zero_info(f"{left} is not used: Lightning's Slurm handlers left it there, and it may go")


def nothing() -> None: ...


def as_given(state_fn: Any, ckpt_path: Any, **_: Any) -> Any:  # noqa: ARG001  of Lightning's method
    return ckpt_path


def leave_at_once(trainer: Trainer) -> None:
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGKILL)
    os._exit(128 + signal.SIGINT)


def last_checkpoint(trainer: Trainer) -> Path:
    """Return the path of `--ckpt_path last`: the run's last.ckpt or, without a run, one beside the trainer's checkpoints."""
    found = sorted(trainer.checkpoint_callbacks, key=lambda one: not isinstance(one, LastCheckpoint))
    folders = [one.dirpath for one in found if isinstance(one, ModelCheckpoint) and one.dirpath]
    path = Path(folders[0] if folders else Path(trainer.default_root_dir, "checkpoints"), "last.ckpt")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
