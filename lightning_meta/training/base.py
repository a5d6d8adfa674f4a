"""The base of few-shot training and meta-RL: theta, its optimiser, and the means over tasks that an evaluation logs."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.core.distributed import mean_over_processes, raise_in_all
from lightning_meta.training.evaluation import peak_memory
from lightning_meta.training.finite import JUDGED, diverged, largest
from lightning_meta.training.measurements import Measurement, Quantity, Stage, Summary

Learns = TypeVar("Learns", bound=FewShotLearner | MetaRLLearner)


class MetaModule(LightningModule, ABC, Generic[Learns]):
    """A learner under Lightning.

    Attributes:
        learner: The learner.
        test_stage: The stage of a test: which set, and which size of episode.
        measurements: What the latest validation or test measured.
        judged: The measurement among them that the learner is judged by; None before the first.
    """

    learner: Learns

    def __init__(self, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None, noise_seed: int):
        super().__init__()
        self.make_optimizer, self.make_scheduler, self.noise_seed = optimizer, scheduler, noise_seed
        self.summary, self.test_stage = Summary(), Stage("meta_test")
        self.measurements: list[Measurement] = []
        self.judged: Measurement | None = None

    def theta(self) -> list[Parameter]:
        return [w for w in self.learner.parameters() if w.requires_grad]

    def configure_optimizers(self) -> Any:
        if not self.theta():
            raise InputError(
                f"{type(self.learner).__name__} as configured has nothing to train: give it a backbone with weights of"
                " its own, lightning_meta.nn.MLP say"
            )
        optimizer, scheduler = self.make_both()
        if scheduler is None:
            return optimizer
        if isinstance(scheduler, ReduceLROnPlateau):
            raise InputError(
                "ReduceLROnPlateau waits for a score, but the schedule is stepped after every meta-batch: choose another,"
                " torch.optim.lr_scheduler.CosineAnnealingLR say"
            )
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def make_both(self, weights: list[Parameter] | None = None) -> tuple[Optimizer, Any]:
        """An optimiser of theta, or of other weights, and its schedule, if it has one; InputError where their settings are
        none."""
        try:
            optimizer = self.make_optimizer(self.theta() if weights is None else weights)
            scheduler = self.make_scheduler(optimizer) if self.make_scheduler else None
        except (ValueError, TypeError) as error:
            raise InputError(f"the outer optimizer or its scheduler cannot be made as configured: {error}") from error
        return optimizer, scheduler

    def make_tried(self, weights: list[Parameter]) -> tuple[Optimizer, Any]:
        """Both of these weights, after a step without a gradient; InputError where the optimiser cannot step."""
        optimizer, scheduler = self.make_both(weights)
        try:
            step_without_gradient(optimizer)
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"the outer optimizer cannot step as configured: {error}") from error
        return optimizer, scheduler

    def name_noise(self, batch_idx: int) -> None:
        """The noise of a step is a pure function of the step, as the tasks are: a resumed run draws the same."""
        torch.manual_seed(hash((self.noise_seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)

    def log_rate(self, optimizer: Any) -> None:
        """Log the outer learning rate of the step that is taken, if the optimiser has one."""
        if (rate := optimizer.param_groups[0].get("lr")) is not None:
            self.log("meta_train/learning_rate", float(rate))

    def share_buffers(self) -> None:
        """Buffers (running statistics) become their mean over processes, as gradients do."""
        buffers = [buffer for buffer in self.learner.buffers() if buffer.is_floating_point()]
        if self.trainer.world_size > 1 and buffers:
            flat = mean_over_processes(torch.cat([buffer.flatten() for buffer in buffers]))
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def on_test_start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def on_validation_epoch_end(self) -> None:
        self.log_summary()

    def on_test_epoch_end(self) -> None:
        self.log_summary()
        own = torch.tensor(float(peak_memory(self.device)[0]), device=self.device)
        peak = Measurement(
            Quantity(self.test_stage, "peak_memory"), float(self.trainer.strategy.reduce(own, reduce_op="max"))
        )
        self.log(peak.quantity.tag, peak.mean, sync_dist=True, reduce_fx="max")
        self.measurements.append(peak)

    def log_summary(self) -> None:
        """Log every mean with its interval, and `error`, of which less is better: what checkpoints watch."""
        self.measurements = self.summary.compute()
        for one in list(self.measurements):
            quantity, mean = one.quantity, torch.tensor(one.mean)
            self.check_score(quantity, mean)
            self.log(quantity.tag, one.mean, sync_dist=True)
            if one.ci95 is not None:
                self.log(f"{quantity.tag}_ci95", one.ci95, sync_dist=True)
            plain = quantity.protocol is None and quantity.curve is None
            error = self.error(quantity.metric, mean) if plain else None
            if error is not None:
                self.judged = one
                self.measurements.append(Measurement(replace(quantity, metric="error"), float(error)))
                self.log(self.measurements[-1].quantity.tag, float(error), sync_dist=True)
        self.summary = Summary()

    def objectives(self) -> dict[str, float]:
        """Return what a search can minimise, by name, as the latest validation measured it.

        That is the error, the loss, and the error at each number of shots and on each source that is validated at.
        """
        values: dict[str, float] = {}
        for one in self.measurements:
            if one.quantity.curve in ("shots", "source"):
                values[f"{one.quantity.tag}/error"] = 1 - one.mean if one.metric == "accuracy" else one.mean
            elif one.metric in ("error", "loss") and one.quantity.curve is None:
                values[one.quantity.tag] = one.mean
        return values

    def check_score(self, quantity: Quantity, mean: Tensor) -> None:
        """Raise InputError if a mean that the learner is judged by is not finite."""
        name = quantity.tag
        if quantity.curve is not None or quantity.metric not in JUDGED or mean.isfinite():
            return
        if self.trainer.state.fn == TrainerFn.FITTING:
            raise_in_all(diverged(self.trainer, name, mean, self.global_step), self.device)
        error = InputError(
            f"{name} is {float(mean)}: the learner adapts to values that are not finite on some of these tasks, or they hold"
            " such values. Mend the data, lower the inner learning rate, or choose another checkpoint"
        )
        raise_in_all(error, self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002  Lightning's signature
        """Weights that are not finite are not saved: they would take the place of the last that are."""
        value = largest(self.learner.parameters())
        if not value.isfinite():
            raise_in_all(diverged(self.trainer, "the largest weight", value, self.global_step), self.device)

    @abstractmethod
    def error(self, metric: str, mean: Tensor) -> Tensor | None:
        """Return the error that the mean of a metric stands for, None if the learner is not judged by this metric."""


def step_without_gradient(optimizer: Optimizer) -> None:
    """Take a step with gradients of 0."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step(lambda: 0.0)
