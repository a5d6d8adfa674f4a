"""Callbacks and plugins of every run, whatever its configuration lists: graceful stops, checkpoints, reports of progress."""

from typing import Any

import yaml
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

from lightning_meta.training.checkpoint import WholeFiles
from lightning_meta.training.monitor import Cost
from lightning_meta.training.preemption import Preemption
from lightning_meta.training.progress import ProgressReport
from lightning_meta.training.run_checkpoints import BestCheckpoint, LastCheckpoint
from lightning_meta.training.run_folder import RunFolder


class Configuration(Callback):
    """Lets each checkpoint carry the whole resolved configuration that it was trained with, and keeps it in the run's folder
    from the moment that training begins."""

    def __init__(self, config: dict[str, Any], folder: RunFolder | None):
        self.config, self.folder = config, folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's signature
        if self.folder and trainer.is_global_zero:
            self.folder.keep_config(yaml.safe_dump(self.config, sort_keys=False), trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return self.config


def guarded(
    configured: list[Callback] | Callback | None,
    config: dict[str, Any],
    folder: RunFolder | None,
    goes_on: bool,
    saves: bool,
) -> list[Callback]:
    """The callbacks of a run: those configured, whose checkpoints lie in the run's folder unless configured otherwise, and
    those that keep it safe and report its progress; checkpoints only if it has a folder and `saves`. A configured callback of
    these classes stays as it is."""
    own = several(configured)
    if config["trainer"]["logger"] in (False, []):  # Lightning refuses to monitor where nothing logs
        own = [one for one in own if not isinstance(one, LearningRateMonitor)]
    safe: list[Callback] = [Preemption(), Cost(), ProgressReport(), Configuration(config, folder)]
    if folder and saves:
        safe += [BestCheckpoint(folder, goes_on), LastCheckpoint(folder, True), LastCheckpoint(folder, False)]
        for callback in own:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder.checkpoints)
    return [*(one for one in safe if type(one) not in map(type, own)), *own]


def whole_files(configured: Any) -> list[Any]:
    """The plugins that are configured, and checkpoints written whole or not at all, unless a plugin writes them."""
    plugins = several(configured)
    return plugins if any(isinstance(one, CheckpointIO) for one in plugins) else [*plugins, WholeFiles()]


def several(configured: Any) -> list[Any]:
    """Return as a list an option that may be a list, a single object or None."""
    return list(configured) if isinstance(configured, list) else [] if configured is None else [configured]
