"""theta* = argmin_theta sum_i L(phi_i, D_i^ts), phi_i = f_theta(D_i^tr), under Lightning."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, judged, score
from lightning_meta.training.evaluation import (
    Measured,
    Summary,
    adaptation_curve,
    by_presentation,
    measure,
    peak_memory,
    protocols,
    score_name,
)


class MetaTraining(LightningModule):
    """Meta-training, meta-validation and meta-test of any learner.

    Args:
        learner: f_theta.
        optimizer: the outer optimiser.
        scheduler: a schedule of the outer learning rate, stepped after every meta-batch.
        noise_seed: names the random numbers that a learner draws (dropout).

    Logs `meta_train/` and `meta_val/`: loss, and `accuracy` (0..1) or `mse`. Logs `meta_test/` (or what `test_name` says):
    `accuracy`, `nll` (nats a query) and `ece`, or `mse`; `seconds/adapt`, of a task when the tasks of a meta-batch adapt
    together, and `seconds/query`; `memory/peak` in bytes; all but the last once more below `meta_test/inductive` or
    `meta_test/transductive` where the learner can be judged either way. Curves, `steps/K` inner steps and
    `presentation/K`, as configured (validation: over its first 10 meta-batches). Means over episodes come with the
    half-width of their 95 % confidence interval, `_ci95`.
    """

    def __init__(
        self,
        learner: FewShotLearner,
        optimizer: OptimizerCallable = Adam,
        scheduler: LRSchedulerCallable | None = None,
        noise_seed: int = 0,
    ):
        super().__init__()
        self.learner = learner
        self.make_optimizer, self.make_scheduler, self.noise_seed = optimizer, scheduler, noise_seed
        self.summary, self.test_name = Summary(), "meta_test"

    def configure_optimizers(self) -> Any:
        theta = [w for w in self.learner.parameters() if w.requires_grad]
        if not theta:
            raise InputError(
                f"{type(self.learner).__name__} as configured has nothing to train: give it a backbone with weights of"
                " its own, lightning_meta.nn.MLP say"
            )
        optimizer = self.make_optimizer(theta)
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [{"scheduler": self.make_scheduler(optimizer), "interval": "step"}]

    def training_step(self, batch: Episode | Examples, batch_idx: int) -> Tensor:
        self.learner.check_batch(batch)
        # The noise of a step is a pure function of the step, as the episodes are: a resumed run draws the same.
        torch.manual_seed(hash((self.noise_seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)
        outcome = self.learner.loss(batch)  # type: ignore[arg-type]  # just checked
        scores = score(outcome.prediction, judged(batch).y)
        self.log("meta_train/loss", outcome.loss, prog_bar=True, sync_dist=True)
        self.log(f"meta_train/{score_name(batch)}", scores.mean(), prog_bar=True, sync_dist=True)
        return outcome.loss

    def on_after_backward(self) -> None:
        """Buffers (running statistics) become their mean over processes, as the gradients just did."""
        if self.trainer.world_size > 1:
            buffers = [buffer for buffer in self.learner.buffers() if buffer.is_floating_point()]
            if buffers:
                flat = torch.cat([buffer.flatten() for buffer in buffers])
                flat = self.trainer.strategy.reduce(flat, reduce_op="mean")
                for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                    buffer.copy_(mean.view_as(buffer))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002  Lightning's signature
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            norms = [w.grad.norm() for w in self.learner.parameters() if w.grad is not None]
            self.log("meta_train/gradient_norm", torch.stack(norms).norm())
            self.log_dict({f"theta/{name}": value for name, value in self.learner.diagnostics().items()})

    def validation_step(self, episode: Episode, batch_idx: int) -> None:
        found = measure(self.learner, episode)
        self.summary.add("meta_val/loss", found.loss)
        self.summary.add(f"meta_val/{score_name(episode)}", found.score)
        if batch_idx < 10:
            self.add_curves("meta_val", episode, found)

    def on_test_start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def test_step(self, episode: Episode, batch_idx: int) -> None:
        for name, learner in protocols(self.learner).items():
            if batch_idx == 0:
                measure(learner, episode)  # what starts up once is not timed
            found = measure(learner, episode)
            own = learner is self.learner
            self.summary.add_measured(self.test_name if own else f"{self.test_name}/{name}", episode, found)
            if own:
                self.add_curves(self.test_name, episode, found)

    def add_curves(self, stage: str, episode: Episode, found: Measured) -> None:
        """Scores by the number of inner steps, and accuracies by presentation, where a learner has them."""
        for steps, scores in adaptation_curve(self.learner, episode, found).items():
            self.summary.add(f"{stage}/steps/{steps}", scores)
        if episode.support.y.is_floating_point():
            return  # what is presented again are classes
        with torch.no_grad():
            in_turn = self.learner.predict_in_turn(episode.support)
        if in_turn is not None:
            for k, scores in enumerate(by_presentation(in_turn, episode.support.y), start=1):
                self.summary.add(f"{stage}/presentation/{k}", scores)

    def on_validation_epoch_end(self) -> None:
        self.log_summary()

    def on_test_epoch_end(self) -> None:
        self.log_summary()
        peak, _ = peak_memory(self.device)
        self.log(f"{self.test_name}/memory/peak", float(peak), sync_dist=True, reduce_fx="max")

    def log_summary(self) -> None:
        """Log every mean with its interval, and `error`, the score of which less is better: what checkpoints watch."""
        for name, (mean, ci95) in self.summary.compute().items():
            self.log(name, mean, sync_dist=True)
            if ci95 is not None:
                self.log(f"{name}_ci95", ci95, sync_dist=True)
            stage, _, kind = name.partition("/")
            if kind in ("accuracy", "mse"):
                self.log(f"{stage}/error", 1 - mean if kind == "accuracy" else mean, sync_dist=True)
        self.summary = Summary()
