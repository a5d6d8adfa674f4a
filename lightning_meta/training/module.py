"""theta* = argmin_theta sum_i L(phi_i, D_i^ts), phi_i = f_theta(D_i^tr), under Lightning."""

import math
from dataclasses import replace

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_meta.core import Episode, FewShotLearner, InputError, MetaBatch, equal_parts, mean_loss, score
from lightning_meta.core.distributed import is_single_process, raise_in_all, share_error
from lightning_meta.training.base import MetaModule
from lightning_meta.training.evaluation import (
    Measured,
    adaptation_curve,
    by_presentation,
    measure,
    protocols,
    score_name,
)
from lightning_meta.training.finite import SKIPPED, diverged, largest
from lightning_meta.training.measurements import VALIDATION, Quantity, Stage
from lightning_meta.training.task_data import Point, TaskData


class MetaTraining(MetaModule[FewShotLearner]):
    """Meta-training, meta-validation and meta-test of any learner.

    Args:
        learner: f_theta.
        optimizer: the outer optimiser.
        scheduler: a schedule of the outer learning rate, stepped after every meta-batch.
        noise_seed: names the random numbers that a learner draws (dropout).

    Logs `meta_train/` and `meta_val/`: loss, and `accuracy` (0..1) or `mse`. Logs `meta_test/` (or below `test_stage`):
    `accuracy`, `nll` (nats a query) and `ece`, or `mse`; `seconds/adapt`, of a task when the tasks of a meta-batch adapt
    together, and `seconds/query`; `memory/peak` in bytes; all but the last once more below `meta_test/inductive` or
    `meta_test/transductive` where the learner can be judged either way. Curves, `steps/K` inner steps and `presentation/K`,
    as configured (validation: over its first 10 meta-batches). Where the data have `val_shots`, the score at each,
    `meta_val/shots/K`; where they have several sources, the score on each, `meta_val/source/NAME` and
    `meta_test/source/NAME`, and all others as means over sources. Means over episodes come with the half-width of their 95 %
    confidence interval, `_ci95`.
    """

    def __init__(
        self,
        learner: FewShotLearner,
        optimizer: OptimizerCallable = Adam,
        scheduler: LRSchedulerCallable | None = None,
        noise_seed: int = 0,
    ):
        super().__init__(optimizer, scheduler, noise_seed)
        self.learner = learner
        self.losses: list[Tensor] = []  # since the last step of the optimiser
        self.learnt_from: MetaBatch | None = None
        self.skipped = 0  # steps in a row
        self.ways: dict[str, FewShotLearner] = {}  # what is tested, by what its predictions are
        self.points: list[Point] = []  # of each loader of the evaluation under way

    def on_validation_start(self) -> None:
        self.points = points_of(self.trainer, "val")

    def on_test_start(self) -> None:
        super().on_test_start()
        self.points = points_of(self.trainer, "test")

    def training_step(self, batch: MetaBatch, batch_idx: int) -> Tensor:
        self.name_noise(batch_idx)
        parts = equal_parts(batch)
        try:
            for part in parts:
                self.learner.check_batch(part)
            loss, outcomes = mean_loss(self.learner, batch)
            if not is_single_process() and not loss.isfinite():
                raise diverged(self.trainer, "the loss", loss, self.global_step + 1, batch)
        except InputError as error:
            raise_in_all(error, self.device)
        share_error(None, self.device)
        self.losses.append(loss.detach())
        self.learnt_from = batch
        scores = torch.cat([score(one.prediction, part.query.y) for one, part in zip(outcomes, parts, strict=True)])
        self.log("meta_train/loss", loss, prog_bar=True, sync_dist=True)
        self.log(f"meta_train/{score_name(parts[0])}", scores.mean(), prog_bar=True, sync_dist=True)
        return loss

    def on_after_backward(self) -> None:
        self.share_buffers()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.check_step()
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            norms = [w.grad.norm() for w in self.learner.parameters() if w.grad is not None]
            self.log("meta_train/gradient_norm", torch.stack(norms).norm())
            self.log_rate(optimizer)
            self.log_dict({f"theta/{name}": value for name, value in self.learner.diagnostics().items()})

    def check_step(self) -> None:
        """Diverged where the loss or the gradient is not finite, before theta moves. Waits for the device once. Gradients that
        are too large for 16 bits are a scaler's to skip, for a while."""
        loss, gradient = torch.stack([largest(self.losses), largest(w.grad for w in self.theta())]).tolist()
        step, batch = self.global_step + 1, self.learnt_from
        self.losses, self.learnt_from = [], None
        if not math.isfinite(loss):
            raise_in_all(diverged(self.trainer, "the loss", loss, step, batch), self.device)
        self.skipped = 0 if math.isfinite(gradient) else self.skipped + 1
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if self.skipped > (SKIPPED if scaled else 0):
            raise_in_all(diverged(self.trainer, "the gradient", gradient, step, batch), self.device)

    def validation_step(self, batch: MetaBatch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Measure the tasks; returns the predictions for those of the first size."""
        predictions, (point, source) = [], self.place_of(dataloader_idx)
        for episode in equal_parts(batch):
            measured, metric = measure(self.learner, episode), score_name(episode)
            self.summary.add(Quantity(VALIDATION, "loss"), measured.loss, source)
            self.summary.add(Quantity(VALIDATION, metric), measured.score, source)
            if "shots" in point:
                of = Quantity(VALIDATION, metric, curve="shots", point=point["shots"])
                self.summary.add(of, measured.score, source)
            if "source" in point:
                self.summary.add(Quantity(VALIDATION, metric, curve="source", point=point["source"]), measured.score)
            if batch_idx < 10 and dataloader_idx == 0:
                self.add_curves(VALIDATION, episode, measured)
            predictions.append(measured.prediction)
        return predictions[0]

    def test_step(self, batch: MetaBatch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Measure the tasks under each protocol; returns the configured one's predictions for those of the first size."""
        parts = equal_parts(batch)
        if batch_idx == dataloader_idx == 0:
            self.ways = protocols(self.learner, parts[0], self.any_process)
            for learner in self.ways.values():
                measure(learner, parts[0])  # what starts up once is not timed
        predictions, (point, source) = [], self.place_of(dataloader_idx)
        for name, learner in self.ways.items():
            own = learner is self.learner
            for episode in parts:
                measured = measure(learner, episode)
                of = Quantity(self.test_stage, score_name(episode), None if own else name)
                self.summary.add_measured(of, episode, measured, source)
                if "source" in point:
                    self.summary.add(replace(of, curve="source", point=point["source"]), measured.score)
                if own:
                    self.add_curves(self.test_stage, episode, measured, source)
                    predictions.append(measured.prediction)
        return predictions[0]

    def any_process(self, fact: bool) -> bool:
        """Return whether the condition holds in any process: all must log the same keys."""
        return self.trainer.strategy.reduce_boolean_decision(fact, all=False)

    def place_of(self, dataloader_idx: int) -> tuple[Point, int]:
        """Return the points of curves that the tasks of a loader count for, and the number of their source."""
        if not self.points:
            return Point(), 0
        sources = list(dict.fromkeys(point.get("source") for point in self.points))
        point = self.points[dataloader_idx]
        return point, sources.index(point.get("source"))

    def add_curves(self, stage: Stage, episode: Episode, measured: Measured, source: int = 0) -> None:
        """Scores by the number of inner steps, and accuracies by presentation, where a learner has them."""
        metric = score_name(episode)
        for steps, scores in adaptation_curve(self.learner, episode, measured).items():
            self.summary.add(Quantity(stage, metric, curve="steps", point=steps), scores, source)
        if episode.support.y.is_floating_point():
            return  # what is presented again are classes
        with torch.no_grad():
            in_turn = self.learner.predict_in_turn(episode.support)
        if in_turn is not None:
            for k, scores in enumerate(by_presentation(in_turn, episode.support.y), start=1):
                self.summary.add(Quantity(stage, metric, curve="presentation", point=k), scores, source)

    def error(self, metric: str, mean: Tensor) -> Tensor | None:
        return {"accuracy": 1 - mean, "mse": mean}.get(metric)


def points_of(trainer: Trainer, stage: str) -> list[Point]:
    """Return the points of curves that each loader of an evaluation counts for; none for other data than ours."""
    data = getattr(trainer, "datamodule", None)
    return data.points(stage) if isinstance(data, TaskData) else []
