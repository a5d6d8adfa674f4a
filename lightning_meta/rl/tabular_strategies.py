"""Strategies for tabular MDPs that were thought out, not learned: they count what they see, and plan when an episode begins.

Definitions are those with which Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016,
arXiv:1611.02779, section 3.2, filled their Table 2 (Ian Osband's TabulaRL): a plan is made once an episode, to the horizon;
of actions that are equally good any is taken; where an episode ends, the next state is not seen. All of theirs expect an
action that was never tried to pay 0, where the tasks' prior says 1: `prior_mean`, the latter by default.

Each is a Policy, to be lived with from the start of a trial: `mdps.rollout(PSRL(mdps), episodes=10)`. What it needs of chance
it draws from the luck of its tasks.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core import InputError, MDPs, Policy, Seen
from lightning_meta.envs import TabularMDPs
from lightning_meta.rl.planning import Experience, optimistic_iteration, value_iteration
from lightning_meta.rl.posteriors import dirichlet, normal

TIE = 1e-4  # actions whose values differ by less are equally good


@dataclass(frozen=True, eq=False)
class TabularStrategy(Policy):
    """phi: what was experienced, and the plan of this episode, the value of each action at each step of it,
    [tasks, envs, horizon, states, actions]; None where a trial begins."""

    mdps: MDPs
    experience: Experience | None = field(default=None, kw_only=True)
    plan: Tensor | None = field(default=None, kw_only=True)
    step: int = field(default=0, kw_only=True)
    before: Seen | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.mdps.world, TabularMDPs):
            raise InputError(
                f"{type(self).__name__} is a strategy for TabularMDPs, not for {type(self.mdps.world).__name__}"
            )
        self.check()

    def check(self) -> None:
        """Raise InputError where a number is not legal."""

    def act(self, seen: Seen) -> tuple[Distribution, "TabularStrategy"]:
        experience = Experience.none(seen) if self.experience is None else self.experience.after(seen)
        episode, age = divmod(self.step, self.mdps.world.horizon)
        plan = self.planned(experience, episode) if self.plan is None or age == 0 else self.plan
        value = (plan[:, :, age] * seen.observation.unsqueeze(-1)).sum(2)  # of each action here
        best = (value >= value.amax(-1, keepdim=True) - TIE).to(value)
        odds = self.odds(best / best.sum(-1, keepdim=True))
        following = replace(self, experience=experience, plan=plan, step=self.step + 1, before=None)
        return Categorical(probs=odds, validate_args=False), following

    def after(self, seen: Seen) -> "TabularStrategy":
        return replace(self, before=seen)

    @abstractmethod
    def planned(self, experience: Experience, episode: int) -> Float[Tensor, "tasks envs horizon states actions"]:
        """Values of actions for the episode of this number, which begins."""

    def odds(self, best: Float[Tensor, "tasks envs actions"]) -> Float[Tensor, "tasks envs actions"]:
        """Of the next action, from those of the best ones."""
        return best


class Random(TabularStrategy):
    """Any action."""

    def planned(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        tasks, envs, states, actions = experience.tried.shape
        return experience.tried.new_zeros(tasks, envs, self.mdps.world.horizon, states, actions)


class Oracle(TabularStrategy):
    """Told the task: what is best to do in it."""

    def planned(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        odds, means = (x.to(experience.tried).unsqueeze(1) for x in self.mdps.task)
        best = value_iteration(odds, means, self.mdps.world.horizon)
        return best.expand(-1, experience.tried.shape[1], -1, -1, -1)


@dataclass(frozen=True, eq=False)
class PSRL(TabularStrategy):
    """Posterior sampling: what is best in an MDP drawn from the posterior. Optimistic (OPSRL) with more `samples`, the value
    of an action being the highest of its values in them.

    Malcolm Strens. A Bayesian Framework for Reinforcement Learning. ICML 2000. Ian Osband, Daniel Russo and Benjamin Van Roy.
    (More) Efficient Reinforcement Learning via Posterior Sampling. NeurIPS 2013, arXiv:1306.0940.
    """

    samples: int = 1
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}; give 1 or more")

    def planned(self, experience: Experience, episode: int) -> Tensor:
        drawn = [self.value_of_one(experience, f"psrl/{episode}/{k}") for k in range(self.samples)]
        return torch.stack(drawn).amax(0)

    def value_of_one(self, experience: Experience, purpose: str) -> Tensor:
        draws, tried = self.mdps.draws, experience.tried
        odds = dirichlet(1 + experience.moved, draws, f"{purpose}/odds")
        noise = normal(draws, f"{purpose}/means", *tried.shape[1:])
        means = experience.mean(self.prior_mean, 1.0) + noise / (1 + tried).sqrt()
        return value_iteration(odds, means, self.mdps.world.horizon)


@dataclass(frozen=True, eq=False)
class Greedy(TabularStrategy):
    """What is best in the MDP as counted or, at each step with a chance of `epsilon`, any action. An action that was never
    tried is taken to lead anywhere and to pay `prior_mean`."""

    epsilon: float = 0.0
    prior_mean: float = 1.0

    def check(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon}; it must be between 0 and 1")

    def planned(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        odds, means = experience.odds(1e-4), experience.mean(self.prior_mean, 1e-4)
        return value_iteration(odds, means, self.mdps.world.horizon)

    def odds(self, best: Tensor) -> Tensor:
        return (1 - self.epsilon) * best + self.epsilon / best.shape[-1]


@dataclass(frozen=True, eq=False)
class BEB(TabularStrategy):
    """Bayesian exploration bonus: what is best in the mean of the posterior if an action that was tried n times paid
    1 / (2 + n) more, for its mean reward is unknown, and `bonus` / (1 + states + n) more for each step that is left, for where
    it leads is too.

    J. Zico Kolter and Andrew Y. Ng. Near-Bayesian Exploration in Polynomial Time. ICML 2009.
    """

    bonus: float = 1.0
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.bonus < 0:
            raise InputError(f"bonus is {self.bonus}; give 0 or more")

    def planned(self, experience: Experience, episode: int) -> Tensor:  # noqa: ARG002
        states = self.mdps.world.observations
        extra = self.bonus / (1 + states + experience.tried)
        means = experience.mean(self.prior_mean, 1.0) + 1 / (2 + experience.tried)
        return value_iteration(experience.odds(1.0), means, self.mdps.world.horizon, extra)


@dataclass(frozen=True, eq=False)
class UCRL2(TabularStrategy):
    """What is best in the best MDP that is plausible: mean rewards and odds of next states may be as far from those counted
    as the confidence intervals allow, which hold with probability 1 - delta in theory and are `scale` as wide here.

    Thomas Jaksch, Ronald Ortner and Peter Auer. Near-optimal Regret Bounds for Reinforcement Learning. JMLR 11, 2010.
    """

    scale: float = 1.0
    delta: float = 0.05
    prior_mean: float = 1.0

    def check(self) -> None:
        if self.scale < 0 or not 0 < self.delta < 1:
            raise InputError(f"scale {self.scale}, delta {self.delta}: give 0 or more, and between 0 and 1")

    def planned(self, experience: Experience, episode: int) -> Tensor:
        world = self.mdps.world
        states, actions = world.observations, world.actions
        width = 4 * math.log(2 * states * actions * (episode + 2) / self.delta)
        reward_slack = self.scale * (width / experience.tried.clamp(min=1)).sqrt()
        odds_slack = self.scale * (width * states / experience.moved.sum(-1).clamp(min=1)).sqrt()
        means = experience.mean(self.prior_mean, 1e-4) + reward_slack
        return optimistic_iteration(experience.odds(1e-5), means, odds_slack, world.horizon)
