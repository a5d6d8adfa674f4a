"""What keeps a run safe, whatever callbacks and plugins its configuration lists: stopping when told to, checkpoints."""

from typing import Any

from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

from lightning_meta.training.checkpoint import WholeFiles
from lightning_meta.training.monitor import Cost
from lightning_meta.training.preemption import Preemption
from lightning_meta.training.run_checkpoints import BestCheckpoint, LastCheckpoint
from lightning_meta.training.run_folder import RunFolder


class Configuration(Callback):
    """Lets each checkpoint carry the whole resolved configuration that it was trained with."""

    def __init__(self, config: dict[str, Any]):
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        return self.config


def guarded(
    configured: list[Callback] | Callback | None, config: dict[str, Any], folder: RunFolder | None, goes_on: bool
) -> list[Callback]:
    """The callbacks of a run: those configured, whose checkpoints lie in the run's folder unless told otherwise, and beside
    them what keeps it safe; without a folder, but for the checkpoints. What is configured of these classes stays as it is."""
    own = several(configured)
    if config["trainer"]["logger"] is False:
        own = [
            one for one in own if not isinstance(one, LearningRateMonitor)
        ]  # Lightning refuses it where nothing logs
    safe: list[Callback] = [Preemption(), Cost(), Configuration(config)]
    if folder:
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
    """What may be given as a list, as one or not at all."""
    return list(configured) if isinstance(configured, list) else [] if configured is None else [configured]
