"""What TensorBoard shows beside the curves that MetaTraining and MetaRL log."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from lightning_meta.core import Episode, Examples, MDPs

CURVES = {**dict.fromkeys(("steps", "updates", "episode"), "adaptation_curve"), "presentation": "presentation_curve"}


class Throughput(Callback):
    """Logs `speed/episodes_per_second` over all devices (of flat batches `speed/examples_per_second`, of decision
    processes `speed/steps_per_second`), and `speed/waiting`, the share of time spent on the loader."""

    def __init__(self) -> None:
        self.last, self.started, self.paused, self.waited, self.count = 0.0, 0.0, 0.0, 0.0, 0.0

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        self.last = self.started = time.perf_counter()
        self.waited, self.count = 0.0, 0.0

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.waited += time.perf_counter() - self.last

    def on_validation_start(self, *_: Any, **__: Any) -> None:
        self.paused = time.perf_counter()

    def on_validation_end(self, *_: Any, **__: Any) -> None:
        pause = time.perf_counter() - self.paused
        self.last, self.started = self.last + pause, self.started + pause

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Episode | MDPs,
        batch_idx: int,  # noqa: ARG002  Lightning's signature
    ) -> None:
        unit, count = counted(batch, outputs, trainer.world_size)
        self.count += count
        now = time.perf_counter()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            elapsed = now - self.started
            pl_module.log_dict(
                {f"speed/{unit}_per_second": self.count / elapsed, "speed/waiting": self.waited / elapsed}
            )
            self.started, self.waited, self.count = now, 0.0, 0.0
        self.last = time.perf_counter()


def counted(batch: Episode | MDPs, outputs: Any, processes: int) -> tuple[str, float]:
    """What a training batch is counted in, and how many of it all processes had."""
    if isinstance(batch, MDPs):
        return "steps", float(outputs["steps"])
    if batch.is_flat:
        return "examples", float(batch.query.x.shape[:2].numel() * processes)
    return "episodes", float(len(batch.query.x) * processes)


class Cost(Callback):
    """What training has cost so far, by the wall clock and in CPU time of this process, both in seconds. Checkpoints carry
    it, so that a resumed run goes on counting."""

    def __init__(self) -> None:
        self.before, self.started = (0.0, 0.0), (0.0, 0.0)

    def on_fit_start(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """Seconds, and seconds of CPU."""
        wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return self.before[0] + wall, self.before[1] + cpu

    def state_dict(self) -> dict[str, float]:
        return dict(zip(("seconds", "cpu_seconds"), self.spent(), strict=True))

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.before = state_dict["seconds"], state_dict["cpu_seconds"]


class EpisodePictures(Callback):
    """One sheet of the first training episode (support, a rule, queries; a class a row). At test, the score against inner
    steps, updates or episodes of a trial as one curve, `adaptation_curve`, and against presentations of a class,
    `presentation_curve`."""

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  Lightning's signature
        batch: Episode | MDPs,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        if trainer.global_step or not isinstance(batch, Episode) or batch.is_flat:
            return
        shape = batch.query.x.shape
        if len(shape) == 5 and shape[2] in (1, 3):
            for board in boards(trainer):
                board.add_image("episode", sheet(batch), 0)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for one in getattr(pl_module, "measurements", ()):
            if one.quantity.curve in CURVES:
                for board in boards(trainer):
                    tag = f"{one.quantity.stage.tag}/{CURVES[one.quantity.curve]}"
                    board.add_scalar(tag, one.mean, one.quantity.point)


class RunSummary(Callback):
    """HParams: the run's configuration beside the best validation score it reached."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                continue
            seen = trainer.callback_metrics
            names = {
                "hparams/loss": "meta_val/loss",
                "hparams/error": "meta_val/error",
            }  # of their own: no curve's point
            scores = {name: float(seen[of]) for name, of in names.items() if of in seen}
            best = getattr(trainer.checkpoint_callback, "best_model_score", None)
            if best is not None:
                scores["hparams/best_error"] = float(best)
            logger.log_hyperparams(dict(pl_module.hparams), scores)


def sheet(episode: Episode, rows: int = 10, columns: int = 16) -> Tensor:
    """Picture [channels, height, width] of the first task: a class a row, support left of a white rule, queries right."""

    def block(examples: Examples, limit: int) -> Tensor:
        x, y = examples.x[0].cpu(), examples.y[0].cpu()
        classes = range(min(rows, int(y.max()) + 1))
        return torch.cat([torch.cat(list(x[y == c][:limit]), dim=2) for c in classes], dim=1)

    support = block(episode.support, columns // 2)
    query = block(episode.query, columns // 2)
    rule = torch.ones(*support.shape[:2], 3)
    return torch.cat([support, rule, query], dim=2)


def boards(trainer: Trainer) -> list[Any]:
    """TensorBoard's writers, on the process that logs."""
    found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger.experiment for logger in found] if trainer.is_global_zero else []
