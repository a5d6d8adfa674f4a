"""Hand-designed strategies for tabular MDPs, to compare learned agents with. They count and plan once per episode.

Definitions are those with which Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016,
arXiv:1611.02779, section 3.2, filled their Table 2 (Ian Osband's TabulaRL): a plan is made once per episode, to the horizon;
of equally good actions any is taken; at the end of an episode the next state is not observed. All of theirs expect a reward
of 0 for an action that was never taken, where the prior of the tasks says 1: `prior_mean`, the latter by default.

Each is a Policy to roll out from the start of a trial: `mdps.rollout(PSRL(mdps), episodes=10)`. Its random numbers are those
of the tasks.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core import InputError, MDPs, Policy, TimeStep
from lightning_meta.envs import TabularMDPs
from lightning_meta.rl.strategies.planning import Experience, optimistic_iteration, value_iteration
from lightning_meta.rl.strategies.posteriors import sample_dirichlet, sample_normal

TIE = 1e-4  # actions whose values differ by less are equally good


@dataclass(frozen=True, eq=False)
class TabularStrategy(Policy):
    """A strategy that counts transitions and rewards, and plans at the start of each episode.

    The plan holds the value of each action at each step of the episode, [tasks, envs, horizon, states, actions]. It and
    the experience are None at the start of a trial.
    """

    mdps: MDPs
    experience: Experience | None = field(default=None, kw_only=True)
    plan: Tensor | None = field(default=None, kw_only=True)
    step: int = field(default=0, kw_only=True)
    resume_from: TimeStep | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.mdps.world, TabularMDPs):
            raise InputError(
                f"{type(self).__name__} is a strategy for TabularMDPs, not for {type(self.mdps.world).__name__}: choose a"
                " strategy for that world"
            )
        self.check()

    def check(self) -> None:
        """Raise InputError if a setting is not legal."""

    def act(self, time_step: TimeStep) -> tuple[Distribution, "TabularStrategy"]:
        experience = Experience.empty(time_step) if self.experience is None else self.experience.updated(time_step)
        episode, age = divmod(self.step, self.mdps.world.horizon)
        plan = self.make_plan(experience, episode) if self.plan is None or age == 0 else self.plan
        value = (plan[:, :, age] * time_step.observation.unsqueeze(-1)).sum(2)  # of each action in the current state
        best = (value >= value.amax(-1, keepdim=True) - TIE).to(value)
        probabilities = self.probabilities(best / best.sum(-1, keepdim=True))
        next_policy = replace(self, experience=experience, plan=plan, step=self.step + 1, resume_from=None)
        return Categorical(probs=probabilities, validate_args=False), next_policy

    def end_rollout(self, time_step: TimeStep) -> "TabularStrategy":
        return replace(self, resume_from=time_step)

    @abstractmethod
    def make_plan(self, experience: Experience, episode: int) -> Float[Tensor, "tasks envs horizon states actions"]:
        """Return the values of actions for the episode of this number, which begins."""

    def probabilities(self, best: Float[Tensor, "tasks envs actions"]) -> Float[Tensor, "tasks envs actions"]:
        """Return the probability of each action, given the probabilities of the best ones."""
        return best


class Random(TabularStrategy):
    """Take all actions with the same probability."""

    def make_plan(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        tasks, envs, states, actions = experience.visits.shape
        return experience.visits.new_zeros(tasks, envs, self.mdps.world.horizon, states, actions)


class Oracle(TabularStrategy):
    """Take the best actions of the task, knowing it."""

    def make_plan(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        probabilities, means = (x.to(experience.visits).unsqueeze(1) for x in self.mdps.task)
        best = value_iteration(probabilities, means, self.mdps.world.horizon)
        return best.expand(-1, experience.visits.shape[1], -1, -1, -1)


@dataclass(frozen=True, eq=False)
class PSRL(TabularStrategy):
    """Posterior sampling: take the best actions of an MDP sampled from the posterior.

    It is optimistic (OPSRL) with more `samples`: the value of an action is the highest of its values in them.

    Malcolm Strens. A Bayesian Framework for Reinforcement Learning. ICML 2000. Ian Osband, Daniel Russo and Benjamin Van Roy.
    (More) Efficient Reinforcement Learning via Posterior Sampling. NeurIPS 2013, arXiv:1306.0940.
    """

    samples: int = 1
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}: give 1 or more")

    def make_plan(self, experience: Experience, episode: int) -> Tensor:
        plans = [self.sample_plan(experience, f"psrl/{episode}/{k}") for k in range(self.samples)]
        return torch.stack(plans).amax(0)

    def sample_plan(self, experience: Experience, purpose: str) -> Tensor:
        seeds, visits = self.mdps.noise_seeds, experience.visits
        probabilities = sample_dirichlet(1 + experience.transitions, seeds, f"{purpose}/odds")
        noise = sample_normal(seeds, f"{purpose}/means", *visits.shape[1:])
        means = experience.mean_rewards(self.prior_mean, 1.0) + noise / (1 + visits).sqrt()
        return value_iteration(probabilities, means, self.mdps.world.horizon)


@dataclass(frozen=True, eq=False)
class Greedy(TabularStrategy):
    """Take the best actions of the MDP as counted or, at each step with probability `epsilon`, any action.

    An action that was never taken is expected to lead anywhere and to give a reward of `prior_mean`.
    """

    epsilon: float = 0.0
    prior_mean: float = 1.0

    def check(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon}: give a number between 0 and 1")

    def make_plan(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        probabilities, means = experience.probabilities(1e-4), experience.mean_rewards(self.prior_mean, 1e-4)
        return value_iteration(probabilities, means, self.mdps.world.horizon)

    def probabilities(self, best: Tensor) -> Tensor:
        return (1 - self.epsilon) * best + self.epsilon / best.shape[-1]


@dataclass(frozen=True, eq=False)
class BEB(TabularStrategy):
    """Bayesian exploration bonus: take the best actions of the mean MDP of the posterior, with a bonus for rare actions.

    An action that was taken n times receives 1 / (2 + n) more, because its mean reward is unknown, and
    `bonus` / (1 + states + n) more for each step that is left, because its next states are unknown too.

    J. Zico Kolter and Andrew Y. Ng. Near-Bayesian Exploration in Polynomial Time. ICML 2009.
    """

    bonus: float = 1.0
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.bonus < 0:
            raise InputError(f"bonus is {self.bonus}: give 0 or more")

    def make_plan(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        states = self.mdps.world.observations
        bonus = self.bonus / (1 + states + experience.visits)
        means = experience.mean_rewards(self.prior_mean, 1.0) + 1 / (2 + experience.visits)
        return value_iteration(experience.probabilities(1.0), means, self.mdps.world.horizon, bonus)


@dataclass(frozen=True, eq=False)
class UCRL2(TabularStrategy):
    """Optimism: take the best actions of the best plausible MDP.

    Mean rewards and transition probabilities may differ from those counted by confidence intervals that hold with
    probability 1 - delta in theory, and are multiplied by `scale` here.

    Thomas Jaksch, Ronald Ortner and Peter Auer. Near-optimal Regret Bounds for Reinforcement Learning. JMLR 11, 2010.
    """

    scale: float = 1.0
    delta: float = 0.05
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.scale < 0 or not 0 < self.delta < 1:
            raise InputError(f"scale {self.scale}, delta {self.delta}: give 0 or more, and between 0 and 1")

    def make_plan(self, experience: Experience, episode: int) -> Tensor:
        world = self.mdps.world
        states, actions = world.observations, world.actions
        width = 4 * math.log(2 * states * actions * (episode + 2) / self.delta)
        reward_slack = self.scale * (width / experience.visits.clamp(min=1)).sqrt()
        transitions = experience.transitions.sum(-1)
        probability_slack = self.scale * (width * states / transitions.clamp(min=1)).sqrt()
        means = experience.mean_rewards(self.prior_mean, 1e-4) + reward_slack
        return optimistic_iteration(experience.probabilities(1e-5), means, probability_slack, world.horizon)
