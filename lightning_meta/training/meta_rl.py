"""theta* = argmax_theta of the expected return of policy_i = f_theta(M_i), trained with Lightning."""

from functools import partial

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import SGD, Adam

from lightning_meta.core import InputError, MDPs, MetaRLLearner
from lightning_meta.core.distributed import mean_over_processes, raise_in_all
from lightning_meta.training.base import MetaModule
from lightning_meta.training.finite import diverged
from lightning_meta.training.measurements import VALIDATION, Quantity, Stage


class MetaRL(MetaModule[MetaRLLearner]):
    """Meta-training, meta-validation and meta-test of an agent.

    A training step is one meta-batch, however many outer steps the agent takes on it.

    It logs `meta_train/`: `return` of the latest trials, `steps` of the environment since the start of the run, further
    scalars of the agent (entropy, kl, ...) and `gradient_norm`. It logs `meta_val/` and `meta_test/` (or below `test_stage`):
    `return` of the adapted policy, or in the last episode of a trial; `total`, the sum of all returns of a trial; each
    return of the adaptation curve, `updates/K` or `episode/K` by the agent's `curve_unit`; and `error`, minus the score of
    the agent. Means over tasks have the half-width of their 95 % confidence interval, `_ci95`.

    Args:
        learner: The agent f_theta.
        optimizer: The outer optimiser, Adam by default. An agent that computes its outer step itself (TRPO) takes none.
        scheduler: A schedule of the outer learning rate, stepped after every meta-batch.
        clip: The largest gradient norm; gradients with a larger one are scaled down to it.
        noise_seed: The seed of the random numbers that a learner draws (dropout).
    """

    environment_steps: Tensor  # since the start of the run, in all processes

    def __init__(
        self,
        learner: MetaRLLearner,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        clip: float | None = None,
        noise_seed: int = 0,
    ):
        if clip is not None and clip <= 0:
            raise InputError(f"clip is {clip}: give more than 0, or leave it out")
        for name, given in {"optimizer": optimizer, "scheduler": scheduler, "clip": clip}.items():
            if learner.own_outer_step and given is not None:
                raise InputError(f"{type(learner).__name__} computes its outer step itself: leave model.{name} out")
        super().__init__(partial(SGD, lr=1.0) if learner.own_outer_step else optimizer or Adam, scheduler, noise_seed)
        self.learner = learner
        self.clip, self.automatic_optimization = clip, False
        self.norms: list[Tensor] = []
        self.register_buffer("environment_steps", torch.zeros((), dtype=torch.long))

    def training_step(self, mdps: MDPs, batch_idx: int) -> dict[str, Tensor]:
        self.name_noise(batch_idx)
        try:
            scalars = self.learner.learn(mdps, self.outer_step)
        except InputError as error:
            raise_in_all(error, self.device)
        self.share_buffers()
        self.end_step()
        steps = (mean_over_processes(scalars.pop("steps").double()) * self.trainer.world_size).round().long()
        self.environment_steps += steps
        self.log("meta_train/steps", self.environment_steps.double())
        for name, value in scalars.items():
            self.log(f"meta_train/{name}", value, prog_bar=name == "return", sync_dist=True)
        return {"loss": -scalars["return"].detach(), "steps": steps}

    def outer_step(self, loss: Tensor) -> None:
        """Take one step of the outer optimiser down the gradient of a loss, averaged over processes.

        Parameters that the loss does not depend on stay as they are.
        """
        theta = self.theta()
        gradients = zip(theta, torch.autograd.grad(loss, theta, allow_unused=True), strict=True)
        moving = [(w, gradient) for w, gradient in gradients if gradient is not None]
        flat = mean_over_processes(torch.cat([gradient.flatten() for _, gradient in moving]))
        self.norms.append(flat.norm())
        if self.clip is not None:
            flat = flat * (self.clip / self.norms[-1]).clamp(max=1)
        for (w, _), part in zip(moving, flat.split([w.numel() for w, _ in moving]), strict=True):
            w.grad = part.view_as(w)
        optimizer = self.optimizers().optimizer  # type: ignore[union-attr]  # there is one
        optimizer.step()
        optimizer.zero_grad()

    def end_step(self) -> None:
        """Count the meta-batch by a Lightning optimiser step without gradients, which moves nothing, and log."""
        if not self.learner.own_outer_step:
            self.log_rate(self.optimizers())
        self.optimizers().step()  # type: ignore[union-attr]  # there is one
        if self.make_scheduler:
            self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]  # there is one
        if self.norms:
            norm = torch.stack(self.norms).mean()
            if not norm.isfinite():
                raise_in_all(diverged(self.trainer, "the gradient", norm, self.global_step), self.device)
            self.log("meta_train/gradient_norm", norm)
        self.norms = []

    def validation_step(self, mdps: MDPs, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        self.add_returns(VALIDATION, mdps)

    def test_step(self, mdps: MDPs, batch_idx: int) -> None:  # noqa: ARG002
        self.add_returns(self.test_stage, mdps)

    def add_returns(self, stage: Stage, mdps: MDPs) -> None:
        """Measure the adaptation curve in each task once."""
        curve = self.learner.returns(mdps)
        self.summary.add(Quantity(stage, "return"), curve[:, -1])
        self.summary.add(Quantity(stage, "total"), curve.sum(1))
        unit = self.learner.curve_unit
        for k, returns in enumerate(curve.unbind(1), start=0 if unit == "updates" else 1):
            self.summary.add(Quantity(stage, "return", curve=unit, point=k), returns)

    def error(self, metric: str, mean: Tensor) -> Tensor | None:
        return -mean if metric == self.learner.score else None
