"""theta* = argmin_theta sum_i L(phi_i, D_i^ts), phi_i = f_theta(D_i^tr), under Lightning."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, judged, prediction_loss, score
from lightning_meta.training.metrics import EpisodeMean


class MetaTraining(LightningModule):
    """Meta-training, meta-validation and meta-test of any learner.

    Args:
        learner: f_theta.
        optimizer: the outer optimiser.
        scheduler: a schedule of the outer learning rate, stepped after every meta-batch.
        noise_seed: names the random numbers that a learner draws (dropout).

    Logs `meta_train/`, `meta_val/` and `meta_test/`: loss, and `accuracy` (0..1) or `mse`; of the latter two with the
    95 % confidence interval over episodes, `_ci95`.
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
        self.means: dict[str, EpisodeMean] = {}  # of the evaluation under way

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
        self.evaluate("meta_val", episode, curve=batch_idx < 10)

    def test_step(self, episode: Episode, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        self.evaluate("meta_test", episode, curve=True)

    def evaluate(self, stage: str, episode: Episode, curve: bool) -> None:
        """Adapt to each task and score its queries; with `curve`, after each number of inner steps too."""
        support, query = episode
        with torch.no_grad():
            prediction = self.learner.adapt(support)(query.x)
            losses = [prediction_loss(p, y) for p, y in zip(prediction, query.y, strict=True)]
            self.record(f"{stage}/loss", torch.stack(losses))
            self.record(f"{stage}/{score_name(episode)}", score(prediction, query.y))
            for steps in curve_steps(self.learner.test_steps) if curve else ():
                phi = self.learner.adapt_steps(support, steps)
                self.record(f"{stage}/steps/{steps}", score(phi(query.x), query.y))

    def record(self, name: str, scores: Tensor) -> None:
        if name not in self.means:
            self.means[name] = EpisodeMean().to(self.device)
        self.means[name].update(scores)

    def on_validation_epoch_end(self) -> None:
        self.log_means()

    def on_test_epoch_end(self) -> None:
        self.log_means()

    def log_means(self) -> None:
        """Log every mean with its interval, and `error`, the score of which less is better: what checkpoints watch."""
        for name, metric in self.means.items():
            mean, ci95 = metric.compute()
            self.log_dict({name: mean, f"{name}_ci95": ci95}, sync_dist=True)
            if name.endswith(("/accuracy", "/mse")):
                stage, kind = name.split("/")
                self.log(f"{stage}/error", 1 - mean if kind == "accuracy" else mean, sync_dist=True)
        self.means.clear()


def score_name(batch: Episode | Examples) -> str:
    return "mse" if judged(batch).y.is_floating_point() else "accuracy"


def curve_steps(test_steps: int) -> list[int]:
    """Inner steps at which the adaptation curve is read: all up to 10, then 20, 50, 100, ... and the last."""
    if test_steps == 0:
        return []
    beyond = [k * 10**n for n in range(1, 6) for k in (2, 5, 10)]
    return [
        *range(min(10, test_steps) + 1),
        *(k for k in beyond if k < test_steps),
        *([test_steps] if test_steps > 10 else []),
    ]
