"""theta* = argmax_theta of the expected return of policy_i = f_theta(M_i), under Lightning."""

from functools import partial

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import SGD, Adam

from lightning_meta.core import InputError, MDPs, MetaRLLearner
from lightning_meta.rl.processes import mean_over_processes, raise_in_all
from lightning_meta.training.base import MetaModule
from lightning_meta.training.finite import diverged


class MetaRL(MetaModule[MetaRLLearner]):
    """Meta-training, meta-validation and meta-test of any agent. A step is a meta-batch, however often theta then moves.

    Args:
        learner: f_theta.
        optimizer: the outer optimiser, Adam by default. An agent whose outer step is its own (TRPO) takes none.
        scheduler: a schedule of the outer learning rate, stepped after every meta-batch.
        clip: gradients of a larger norm are scaled to this one.
        noise_seed: names the random numbers that a learner draws (dropout).

    Logs `meta_train/`: `return` of the trials just lived, `steps` of the environment since the run began, what else the
    agent tells (entropy, kl, ...), and `gradient_norm`. Logs `meta_val/` and `meta_test/` (or what `test_name` says):
    `return` of the adapted policy, or in the last episode of the trial; `total`, all returns of the trial; the returns one
    by one, `updates/K` or, of an agent that learns while it acts, `episode/K`; and `error`, minus what the agent is judged
    by. Means over tasks come with the half-width of their 95 % confidence interval, `_ci95`.
    """

    lived: Tensor  # steps of the environment, in all processes

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
            if learner.own_step and given is not None:
                raise InputError(f"{type(learner).__name__} finds its outer step itself: leave model.{name} out")
        super().__init__(partial(SGD, lr=1.0) if learner.own_step else optimizer or Adam, scheduler, noise_seed)
        self.learner = learner
        self.clip, self.automatic_optimization = clip, False
        self.norms: list[Tensor] = []
        self.register_buffer("lived", torch.zeros((), dtype=torch.long))

    def training_step(self, mdps: MDPs, batch_idx: int) -> dict[str, Tensor]:
        self.name_noise(batch_idx)
        try:
            found = self.learner.learn(mdps, self.improve)
        except InputError as error:
            raise_in_all(error, self.device)
        self.share_buffers()
        self.end_step()
        steps = (mean_over_processes(found.pop("steps").double()) * self.trainer.world_size).round().long()
        self.lived += steps
        self.log("meta_train/steps", self.lived.double())
        for name, value in found.items():
            self.log(f"meta_train/{name}", value, prog_bar=name == "return", sync_dist=True)
        return {"loss": -found["return"].detach(), "steps": steps}

    def improve(self, loss: Tensor) -> None:
        """One step of the outer optimiser down the gradient of a loss, its mean over processes. Parameters that the loss
        does not know stay as they are."""
        theta = self.theta()
        found = zip(theta, torch.autograd.grad(loss, theta, allow_unused=True), strict=True)
        moving = [(w, gradient) for w, gradient in found if gradient is not None]
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
        """Lightning counts steps of its own optimiser: one without gradients, which moves nothing, counts the meta-batch."""
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
        self.add_returns("meta_val", mdps)

    def test_step(self, mdps: MDPs, batch_idx: int) -> None:  # noqa: ARG002
        self.add_returns(self.test_name, mdps)

    def add_returns(self, stage: str, mdps: MDPs) -> None:
        """Let each task be lived through once."""
        curve = self.learner.returns(mdps)
        self.summary.add(f"{stage}/return", curve[:, -1])
        self.summary.add(f"{stage}/total", curve.sum(1))
        unit, first = ("updates", 0) if self.learner.updates else ("episode", 1)
        for k, returns in enumerate(curve.unbind(1), start=first):
            self.summary.add(f"{stage}/{unit}/{k}", returns)

    def error(self, kind: str, mean: Tensor) -> Tensor | None:
        return -mean if kind == ("total" if self.learner.total else "return") else None
