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

from lightning_meta.core import InputError, MDPs, MetaRLLearner, Policy, Trajectories, log_prob
from lightning_meta.nn.conjugate_gradient import dot
from lightning_meta.nn.inner_loop import Weights, gradient_step
from lightning_meta.rl.actor import Actor, FastPolicy, divergence, entropy
from lightning_meta.rl.advantages import advantages, by_task, discounted_sums, standardised_by_task
from lightning_meta.rl.objectives import surrogate
from lightning_meta.rl.score_terms import ScoreTerms, credit
from lightning_meta.rl.trust_region import trust_region_step

Explored = list[tuple[Trajectories, Tensor]]  # what each inner step learns from, and its advantages


class MAML(MetaRLLearner):
    """theta: a policy's initial weights. phi: theta after `updates` policy gradient steps, each on episodes lived through
    with the weights before it,

        phi <- phi + inner_lr grad_phi mean over episodes and steps of log pi_phi(a | s) A

    The outer step raises the return of phi (algorithm 3). Its gradient goes through the inner steps, and through the
    choice of actions there by their score terms; `first_order` ignores both.

    Args:
        observations: numbers in an observation of the world, `actions` and `discrete` what it says of actions.
        hidden: widths of the policy's tanh layers.
        std: what standard deviations of continuous actions, meant to be in [-1, 1], start at. With 1 a third of them lie
            outside; inner steps of the means grow as 1 / std, so a smaller one wants a smaller alpha.
        inner_lr: alpha, the inner learning rate, of the first inner step; `later` is what further ones take of it.
        updates: inner steps in training; `test_updates`, at test.
        envs: episodes lived through for an inner step, and for the outer step, in training; `test_envs`, at test, as many
            unless told.
        discount: of rewards, gamma; `trace` is lambda of the advantages (1: whole returns).
        baseline: whether advantages are over a baseline fitted to each task, its mean reward and what is linear in
            observation and time; without, what every step pays weighs in them.
        standardise: whether a task's advantages are brought to mean 0 and variance 1, which makes alpha fit any scale of
            rewards.
        score_terms: those of the inner gradient's derivative: `all` are right in expectation, those of each `step` alone
            less noisy, `none` what the paper's code has; see `lightning_meta.rl.score_terms`.
        first_order: take phi for theta plus a constant.
        outer: `trpo`, one natural gradient step within a trust region, or `ppo`, some steps of the outer optimiser on the
            clipped objective.
        kl: the trust region, a divergence of adapted policies in nats; for `trpo`.
        cg_steps: conjugate gradient steps towards the natural gradient, with `damping` added to curvatures; for `trpo`. With
            little damping rounding errors grow a million times in ten steps.
        clip: how far from 1 a ratio of probabilities is worth anything; for `ppo`.
        epochs: outer steps on the same episodes; for `ppo`.
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        discrete: bool,
        hidden: Sequence[int] = (64, 64),
        std: float = 1.0,
        inner_lr: float = 0.1,
        later: float = 0.5,
        updates: int = 1,
        test_updates: int = 3,
        envs: int = 20,
        test_envs: int | None = None,
        discount: float = 0.99,
        trace: float = 1.0,
        baseline: bool = True,
        standardise: bool = True,
        score_terms: ScoreTerms = "step",
        first_order: bool = False,
        outer: Literal["trpo", "ppo"] = "trpo",
        kl: float = 0.01,
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
                raise InputError(f"{name} is {count}; give {least} or more")
        for name, value in {"inner_lr": inner_lr, "later": later, "kl": kl, "damping": damping, "clip": clip}.items():
            if value <= 0:
                raise InputError(f"{name} is {value}; it must be positive")
        if not (0 <= discount <= 1 and 0 <= trace <= 1):
            raise InputError(f"discount is {discount} and trace {trace}; both must be in [0, 1]")
        if score_terms not in ("none", "step", "all"):
            raise InputError(f"score_terms is {score_terms!r}; choose none, step or all")
        if outer not in ("trpo", "ppo"):
            raise InputError(f"outer is {outer!r}; choose trpo or ppo")
        self.actor = Actor(observations, actions, discrete, hidden, std)
        self.inner_lr, self.later = inner_lr, later
        self.train_updates, self.test_updates = updates, test_updates
        self.train_envs, self.test_envs = envs, counts["test_envs"]
        self.discount, self.trace, self.baseline, self.standardise = discount, trace, baseline, standardise
        self.score_terms: ScoreTerms = score_terms
        self.first_order, self.kl, self.cg_steps, self.damping = first_order, kl, cg_steps, damping
        self.clip, self.epochs = clip, epochs
        self.own_step = outer == "trpo"  # improves theta by a step of its own

    @property
    def updates(self) -> int:  # type: ignore[override]  # other ones at test
        return self.train_updates if self.training else self.test_updates

    @property
    def envs(self) -> int:  # type: ignore[override]
        return self.train_envs if self.training else self.test_envs

    def start(self) -> Weights:
        return dict(self.actor.named_parameters())

    def policy(self, theta: Weights, tasks: int) -> FastPolicy:
        """These weights for each of so many tasks."""
        return FastPolicy(self.actor, {name: w.expand(tasks, *w.shape) for name, w in theta.items()})

    def prior(self, mdps: MDPs) -> FastPolicy:
        return self.policy(self.start(), len(mdps))

    def update(self, policy: Policy, lived: Trajectories) -> FastPolicy:
        """In evaluation mode without a graph."""
        assert isinstance(policy, FastPolicy)
        graph = self.training and torch.is_grad_enabled()
        with torch.set_grad_enabled(graph), torch.autocast(lived.reward.device.type, enabled=False):
            return self.inner_step(policy, lived, self.advantages(lived))

    def inner_step(self, policy: FastPolicy, lived: Trajectories, advantage: Tensor) -> FastPolicy:
        """phi <- phi - alpha grad L of each task: the gradient of the sum over tasks, who share no weights."""

        def loss(weights: Weights) -> Tensor:
            found = log_prob(replace(policy, weights=weights).at(lived.seen.observation), lived.action)
            return -by_task(credit(found, lived.valid, self.score_terms) * advantage, lived.valid).sum()

        rates = dict.fromkeys(policy.weights, self.inner_lr * (self.later if policy.steps else 1))
        weights = gradient_step(loss, policy.weights, rates, self.first_order)
        return replace(policy, weights=weights, steps=policy.steps + 1)

    def advantages(self, lived: Trajectories) -> Float[Tensor, "tasks envs time"]:
        found = advantages(lived, self.discount, self.trace, self.baseline)
        if not self.standardise:
            return found
        return standardised_by_task(found, lived.valid, discounted_sums(lived.reward * lived.valid, self.discount))

    def adapted(self, theta: Weights, explored: Explored, tasks: int) -> FastPolicy:
        """phi as a function of theta, given what was lived through on the way."""
        policy = self.policy(theta, tasks)
        for lived, advantage in explored:
            policy = self.inner_step(policy, lived, advantage)
        return policy

    def outer_loss(self, acting: Distribution, lived: Trajectories, advantage: Tensor) -> Float[Tensor, " tasks"]:
        """What phi, which acts so, loses of the advantages that it had, for each task."""
        log_ratio = log_prob(acting, lived.action) - lived.log_prob
        gain = log_ratio.exp() * advantage if self.own_step else surrogate(log_ratio, advantage, self.clip)
        return -by_task(gain, lived.valid)

    def learn(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """One outer step, or for `ppo` several, on one trial of each task and episodes of its phi. In float32 whatever the
        run's precision: ratios of probabilities and curvatures need their digits."""
        with torch.autocast(mdps.seeds.device.type, enabled=False):
            return self.improved(mdps, improve)

    def improved(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        with torch.no_grad():
            policy, explored = self.prior(mdps), []
            for k in range(self.updates):
                lived, _ = mdps.rollout(policy, self.envs, purpose=f"trial/{k}")
                explored.append((lived, self.advantages(lived)))
                policy = self.inner_step(policy, *explored[-1])
            lived, _ = mdps.rollout(policy, self.envs, purpose="adapted")
            advantage, old = self.advantages(lived), policy.at(lived.seen.observation)
        theta = self.start()

        def judge(theta: Weights) -> tuple[Tensor, Tensor]:
            acting = self.adapted(theta, explored, len(mdps)).at(lived.seen.observation)
            kl = by_task(divergence(old, acting), lived.valid)
            return self.outer_loss(acting, lived, advantage).mean(), kl.mean()

        if self.own_step:
            step, curves = trust_region_step(judge, theta, self.kl, self.cg_steps, self.damping)
            improve(-dot(step, theta))
        else:
            for _ in range(self.epochs):
                improve(judge(theta)[0])
            with torch.no_grad():
                curves = {"kl": judge(theta)[1]}
        steps = torch.stack([one.valid.sum() for one in (lived, *(lived for lived, _ in explored))]).sum()
        return {
            **curves,
            "return": lived.returns().mean(),
            "entropy": by_task(entropy(old), lived.valid).mean(),
            "steps": steps.float(),
        }
