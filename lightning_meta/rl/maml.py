"""Model-Agnostic Meta-Learning for reinforcement learning: phi is the policy after a few policy gradient steps.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv:1703.03400, sections 3.2 and 5.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from lightning_meta.core import InputError, MDPs, Policy, Trajectory, log_prob
from lightning_meta.nn.conjugate_gradient import dot
from lightning_meta.nn.inner_loop import Weights, gradient_step
from lightning_meta.rl._update_based import UpdateBased
from lightning_meta.rl.parts.actor import Actor, FastPolicy, entropy_of_actions, kl_of_actions
from lightning_meta.rl.parts.advantages import (
    discounted_sums,
    episode_advantages,
    mean_per_task,
    standardise_per_task,
)
from lightning_meta.rl.parts.ppo import clipped_surrogate
from lightning_meta.rl.parts.score_terms import ScoreTerms, score_factor
from lightning_meta.rl.parts.trust_region import trust_region_step

Exploration = list[tuple[Trajectory, Tensor]]  # the trajectory of each inner step, and its advantages


class MAML(UpdateBased):
    """MAML learns initial weights from which a few policy gradient steps lead to a good policy for a task.

    theta: the initial weights of a policy. phi: theta after `updates` policy gradient steps, each on episodes that the
    weights before it acted in,

        phi <- phi + inner_lr grad_phi mean over episodes and steps of log pi_phi(a | s) A

    The outer step raises the return of phi (algorithm 3). Its gradient goes through the inner steps and, by their score
    terms, through the choice of actions in them; `first_order` ignores both.

    Args:
        observations: Numbers in an observation of the world; the command line takes it from the data.
        actions: The number of discrete actions, or of numbers in a continuous action; the command line takes it from the
            data.
        discrete: Whether actions are discrete; the command line takes it from the data.
        hidden: The widths of the policy's hidden tanh layers.
        std: The initial standard deviation of continuous actions, which are meant to be in [-1, 1]. With 1, a third of them
            lie outside. Inner steps of the means grow as 1 / std, so a smaller std needs a smaller `inner_lr`.
        inner_lr: The learning rate alpha of the first inner step.
        later_lr_factor: The learning rate of all later inner steps, as a factor of `inner_lr`.
        updates: The number of inner steps in training.
        test_updates: The number of inner steps at test.
        envs: The number of episodes for each inner step and for the outer step, in training.
        test_envs: The number of episodes for each inner step at test; `envs` if not given.
        gamma: The discount of rewards.
        gae_lambda: Lambda of generalised advantage estimation; 1 for whole returns.
        baseline: Whether to subtract from returns a baseline fitted to each task: the mean reward of the task, and a
            function that is linear in observation and time. Without it, a reward that every step receives affects the
            advantages.
        standardise: Whether to scale the advantages of each task to mean 0 and variance 1, which makes `inner_lr`
            independent of the scale of rewards.
        score_terms: Which score terms the derivative of the inner gradient includes: `all` is right in expectation, `step`
            has only those within each step and is less noisy, `none` is what the code of the paper does. See
            `lightning_meta.rl.parts.score_terms`.
        first_order: Whether to treat phi as theta plus a constant in the outer gradient.
        outer: The outer step: `trpo` for one natural gradient step within a trust region, or `ppo` for several steps of the
            outer optimiser on the clipped objective.
        max_kl: The trust region, as the largest mean divergence between adapted policies in nats; for `trpo`.
        cg_steps: The number of conjugate gradient steps towards the natural gradient; for `trpo`.
        damping: Added to the curvature; for `trpo`. With little damping, rounding errors grow a million times in ten
            conjugate gradient steps.
        clip: The largest deviation of a probability ratio from 1 that is rewarded; for `ppo`.
        epochs: The number of outer steps on the same episodes; for `ppo`.
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        discrete: bool,
        hidden: Sequence[int] = (64, 64),
        std: float = 1.0,
        inner_lr: float = 0.1,
        later_lr_factor: float = 0.5,
        updates: int = 1,
        test_updates: int = 3,
        envs: int = 20,
        test_envs: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        baseline: bool = True,
        standardise: bool = True,
        score_terms: ScoreTerms = "step",
        first_order: bool = False,
        outer: Literal["trpo", "ppo"] = "trpo",
        max_kl: float = 0.01,
        cg_steps: int = 10,
        damping: float = 0.01,
        clip: float = 0.2,
        epochs: int = 5,
    ):
        super().__init__()
        counts = {
            "updates": updates,
            "test_updates": test_updates,
            "envs": envs,
            "test_envs": envs if test_envs is None else test_envs,
            "epochs": epochs,
            "cg_steps": cg_steps,
        }
        for name, count in counts.items():
            if count < (least := 0 if "updates" in name else 1):
                raise InputError(f"{name} is {count}: give {least} or more")
        positive = {"inner_lr": inner_lr, "later_lr_factor": later_lr_factor, "max_kl": max_kl}
        for name, value in {**positive, "damping": damping, "clip": clip}.items():
            if value <= 0:
                raise InputError(f"{name} is {value}: give a positive number")
        if not (0 <= gamma <= 1 and 0 <= gae_lambda <= 1):
            raise InputError(f"gamma is {gamma} and gae_lambda {gae_lambda}: both must be in [0, 1]")
        if score_terms not in ("none", "step", "all"):
            raise InputError(f"score_terms is {score_terms!r}: choose none, step or all")
        if outer not in ("trpo", "ppo"):
            raise InputError(f"outer is {outer!r}: choose trpo or ppo")
        self.actor = Actor(observations, actions, discrete, hidden, std)
        self.inner_lr, self.later_lr_factor = inner_lr, later_lr_factor
        self.train_updates, self.test_updates = updates, test_updates
        self.train_envs, self.test_envs = envs, counts["test_envs"]
        self.gamma, self.gae_lambda, self.baseline, self.standardise = gamma, gae_lambda, baseline, standardise
        self.score_terms: ScoreTerms = score_terms
        self.first_order, self.max_kl, self.cg_steps, self.damping = first_order, max_kl, cg_steps, damping
        self.clip, self.epochs = clip, epochs
        self.own_outer_step = outer == "trpo"

    @property
    def updates(self) -> int:  # type: ignore[override]  # differs between training and test
        return self.train_updates if self.training else self.test_updates

    @property
    def envs(self) -> int:  # type: ignore[override]
        return self.train_envs if self.training else self.test_envs

    def initial_weights(self) -> Weights:
        return dict(self.actor.named_parameters())

    def policy(self, theta: Weights, tasks: int) -> FastPolicy:
        """Return a policy with the same weights for each task."""
        return FastPolicy(self.actor, {name: w.expand(tasks, *w.shape) for name, w in theta.items()})

    def prior(self, mdps: MDPs) -> FastPolicy:
        return self.policy(self.initial_weights(), len(mdps))

    def update(self, policy: Policy, trajectory: Trajectory) -> FastPolicy:
        """Take an inner step; in evaluation mode without a graph."""
        assert isinstance(policy, FastPolicy)
        graph = self.training and torch.is_grad_enabled()
        with torch.set_grad_enabled(graph), torch.autocast(trajectory.reward.device.type, enabled=False):
            return self.inner_step(policy, trajectory, self.advantages(trajectory))

    def inner_step(self, policy: FastPolicy, trajectory: Trajectory, advantage: Tensor) -> FastPolicy:
        """Return phi - alpha grad L per task. The gradient is that of the sum over tasks, which share no weights."""

        def loss(weights: Weights) -> Tensor:
            acting = replace(policy, weights=weights).at(trajectory.time_steps.observation)
            factor = score_factor(log_prob(acting, trajectory.action), trajectory.valid, self.score_terms)
            return -mean_per_task(factor * advantage, trajectory.valid).sum()

        rates = dict.fromkeys(policy.weights, self.inner_lr * (self.later_lr_factor if policy.steps else 1))
        weights = gradient_step(loss, policy.weights, rates, self.first_order)
        return replace(policy, weights=weights, steps=policy.steps + 1)

    def advantages(self, trajectory: Trajectory) -> Float[Tensor, "tasks envs time"]:
        advantage = episode_advantages(trajectory, self.gamma, self.gae_lambda, self.baseline)
        if not self.standardise:
            return advantage
        to_go = discounted_sums(trajectory.reward * trajectory.valid, self.gamma)
        return standardise_per_task(advantage, trajectory.valid, to_go)

    def adapted(self, theta: Weights, exploration: Exploration, tasks: int) -> FastPolicy:
        """Return phi as a function of theta, given the trajectories of the inner steps."""
        policy = self.policy(theta, tasks)
        for trajectory, advantage in exploration:
            policy = self.inner_step(policy, trajectory, advantage)
        return policy

    def outer_loss(self, acting: Distribution, trajectory: Trajectory, advantage: Tensor) -> Float[Tensor, " tasks"]:
        """Return minus the surrogate objective of each task for phi, which acts by this distribution."""
        log_ratio = log_prob(acting, trajectory.action) - trajectory.log_prob
        clip = None if self.own_outer_step else self.clip
        gain = log_ratio.exp() * advantage if clip is None else clipped_surrogate(log_ratio, advantage, clip)
        return -mean_per_task(gain, trajectory.valid)

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Take one outer step, or several for `ppo`, on a trial of each task and episodes of its phi.

        It runs in float32 whatever the precision of the run: probability ratios and curvatures need their digits.
        """
        with torch.autocast(mdps.seeds.device.type, enabled=False):
            return self.learn_in_full_precision(mdps, outer_step)

    def learn_in_full_precision(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        with torch.no_grad():
            policy, exploration = self.prior(mdps), []
            for k in range(self.updates):
                trajectory, _ = mdps.rollout(policy, self.envs, purpose=f"trial/{k}")
                exploration.append((trajectory, self.advantages(trajectory)))
                policy = self.inner_step(policy, *exploration[-1])
            trajectory, _ = mdps.rollout(policy, self.envs, purpose="adapted")
            advantage, old = self.advantages(trajectory), policy.at(trajectory.time_steps.observation)
        theta = self.initial_weights()

        def loss_and_kl(theta: Weights) -> tuple[Tensor, Tensor]:
            acting = self.adapted(theta, exploration, len(mdps)).at(trajectory.time_steps.observation)
            kl = mean_per_task(kl_of_actions(old, acting), trajectory.valid)
            return self.outer_loss(acting, trajectory, advantage).mean(), kl.mean()

        if self.own_outer_step:
            step, log = trust_region_step(loss_and_kl, theta, self.max_kl, self.cg_steps, self.damping)
            outer_step(-dot(step, theta))
        else:
            for _ in range(self.epochs):
                outer_step(loss_and_kl(theta)[0])
            with torch.no_grad():
                log = {"kl": loss_and_kl(theta)[1]}
        steps = torch.stack([one.valid.sum() for one in (trajectory, *(one for one, _ in exploration))]).sum()
        return {
            **log,
            "return": trajectory.returns().mean(),
            "entropy": mean_per_task(entropy_of_actions(old), trajectory.valid).mean(),
            "steps": steps.float(),
        }
