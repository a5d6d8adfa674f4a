"""TensorBoard as the monitor of a run."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger


class TensorBoard(TensorBoardLogger):
    """Event files for TensorBoard, without the curve `epoch` that Lightning adds to all that it logs.

    Its arguments are those of Lightning's TensorBoardLogger.
    """

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)


def boards(trainer: Trainer) -> list[Any]:
    """TensorBoard's writers, on the process that logs."""
    found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger.experiment for logger in found] if trainer.is_global_zero else []
