"""Reports of a trial to Ray, with its checkpoints."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from ray import tune
from torch.utils.tensorboard.summary import hparams

from lightning_meta.search.space import short_names
from lightning_meta.training.base import MetaModule
from lightning_meta.training.finite import diverged

CHECKPOINT = "trial.ckpt"


class Reporter(Callback):
    """Reports what a validation found, with a checkpoint from which the trial continues exactly.

    `report` is ray.tune.report, or None in processes that only take part. Raises Diverged where an objective is not a number.
    """

    def __init__(self, objectives: list[str], values: dict[str, Any], report: Callable[..., None] | None):
        self.objectives, self.values, self.report, self.validated = objectives, values, report, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's signature
        if self.report and isinstance(trainer.logger, TensorBoardLogger):
            names = short_names(list(self.values))
            shown = {names[key]: v if isinstance(v, (int, float)) else str(v) for key, v in self.values.items()}
            for summary in hparams(shown, dict.fromkeys(self.objectives)):
                trainer.logger.experiment.file_writer.add_summary(summary)  # type: ignore[union-attr]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.validated:
            return
        self.validated = False
        assert isinstance(pl_module, MetaModule)
        assert pl_module.judged  # a validation is over
        found: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        errors = pl_module.objectives()
        for name in self.objectives:
            found[name] = errors[name]
            if not math.isfinite(found[name]):  # Ray compares numbers
                raise diverged(trainer, name, found[name], trainer.global_step)
        found["objective"] = sum(found[name] for name in self.objectives) / len(self.objectives)
        found |= {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        found["score"] = {
            "metric": pl_module.judged.metric,
            "mean": pl_module.judged.mean,
            "ci95": pl_module.judged.ci95,
        }
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(Path(folder, CHECKPOINT))  # every process takes part
            if self.report:
                self.report(found, checkpoint=tune.Checkpoint.from_directory(folder))
