"""Hand-designed strategies for Bernoulli bandits, to compare learned agents with.

Definitions are those with which Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016,
arXiv:1611.02779, section 3.1, filled their Table 1: the success rate of an arm is uniform in [0, 1] before any pull, so
initially an arm counts as one win and one loss, also for UCB1 and the greedy strategies; of equally good arms the first is
pulled.

Each is a Policy to roll out from the start of a trial: `mdps.rollout(Thompson(mdps))`. Its random numbers are those of the
tasks.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core import InputError, MDPs, Policy, TimeStep
from lightning_meta.envs import Bandits, TwoArms
from lightning_meta.rl.strategies.gittins import gittins_index, whittle_index
from lightning_meta.rl.strategies.posteriors import sample_beta


@dataclass(frozen=True, eq=False)
class BanditStrategy(Policy):
    """A strategy that counts wins and losses of the arms, [tasks, envs, arms]; None at the start of a trial."""

    mdps: MDPs
    wins: Tensor | None = field(default=None, kw_only=True)
    losses: Tensor | None = field(default=None, kw_only=True)
    step: int = field(default=0, kw_only=True)
    resume_from: TimeStep | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.mdps.world, (Bandits, TwoArms)):
            raise InputError(
                f"{type(self).__name__} is a strategy for Bandits and TwoArms, not for {type(self.mdps.world).__name__}:"
                " choose a strategy for that world"
            )
        self.check()

    def check(self) -> None:
        """Raise InputError if a setting is not legal."""

    def act(self, time_step: TimeStep) -> tuple[Distribution, "BanditStrategy"]:
        reward = time_step.previous_reward
        won, lost = (time_step.previous_action * x.unsqueeze(-1) for x in (reward, 1 - reward))  # both 0 at the start
        wins, losses = (
            (won, lost) if self.wins is None or self.losses is None else (self.wins + won, self.losses + lost)
        )
        next_policy = replace(self, wins=wins, losses=losses, step=self.step + 1, resume_from=None)
        return Categorical(probs=self.probabilities(wins, losses, time_step), validate_args=False), next_policy

    def end_rollout(self, time_step: TimeStep) -> "BanditStrategy":
        return replace(self, resume_from=time_step)

    @abstractmethod
    def probabilities(
        self, wins: Float[Tensor, "tasks envs arms"], losses: Float[Tensor, "tasks envs arms"], time_step: TimeStep
    ) -> Float[Tensor, "tasks envs arms"]:
        """Return the probability of pulling each arm next."""


def first_best(merit: Float[Tensor, "tasks envs arms"]) -> Float[Tensor, "tasks envs arms"]:
    """Return probability 1 for the arm of the highest merit, the first if there are several."""
    return F.one_hot(merit.argmax(-1), merit.shape[-1]).to(merit)


def expected(wins: Float[Tensor, "*arms"], losses: Float[Tensor, "*arms"]) -> Float[Tensor, "*arms"]:
    """Return the mean of Beta(1 + wins, 1 + losses)."""
    return (wins + 1) / (wins + losses + 2)


class Random(BanditStrategy):
    """Pull all arms with the same probability."""

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        return torch.ones_like(wins) / wins.shape[-1]


class Oracle(BanditStrategy):
    """Pull the best arm always, knowing the task."""

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        return first_best(self.mdps.task.unsqueeze(1).expand_as(wins))


@dataclass(frozen=True, eq=False)
class Greedy(BanditStrategy):
    """Pull the arm of the highest expected success rate or, with probability `epsilon`, any arm."""

    epsilon: float = 0.0

    def check(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon}: give a number between 0 and 1")

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        return (1 - self.epsilon) * first_best(expected(wins, losses)) + self.epsilon / wins.shape[-1]


class WinStayLoseShift(BanditStrategy):
    """Pull the same arm again if it won, otherwise any other: the best that an agent with a memory of one pull can do.

    Herbert Robbins. Some Aspects of the Sequential Design of Experiments. Bulletin of the AMS 58(5), 1952.
    """

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        others = 1 - time_step.previous_action  # at the start any arm
        won = time_step.previous_reward.unsqueeze(-1)
        return won * time_step.previous_action + (1 - won) * others / others.sum(-1, keepdim=True).clamp(min=1)


@dataclass(frozen=True, eq=False)
class UCB1(BanditStrategy):
    """Pull the arm of the highest mean + c sqrt(2 log t / pulls), after t pulls in all; c is 1 in theory.

    Peter Auer, Nicolo Cesa-Bianchi and Paul Fischer. Finite-time Analysis of the Multiarmed Bandit Problem. Machine Learning
    47, 2002. The factor is Jean-Yves Audibert's and Remi Munos's.
    """

    c: float = 1.0

    def check(self) -> None:
        if self.c < 0:
            raise InputError(f"c is {self.c}: give 0 or more")

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        bonus = (2 * math.log(max(self.step, 1)) / (wins + losses + 2)).sqrt()
        return first_best(expected(wins, losses) + self.c * bonus)


@dataclass(frozen=True, eq=False)
class Thompson(BanditStrategy):
    """Pull the best arm of a sample from the posterior.

    It is optimistic (OTS in the paper's table) with more `samples`, of which the one with the highest posterior density
    counts.

    William R. Thompson. On the Likelihood that One Unknown Probability Exceeds Another in View of the Evidence of Two Samples.
    Biometrika 25, 1933.
    """

    samples: int = 1

    def check(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}: give 1 or more")

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        wins, losses = (x.unsqueeze(2).expand(-1, -1, self.samples, -1) for x in (wins, losses))
        rates = sample_beta(wins + 1, losses + 1, self.mdps.noise_seeds, f"thompson/{self.step}")
        logs = torch.xlogy(wins, rates) + torch.xlogy(losses, 1 - rates)
        density = logs.sum(-1)  # up to a constant that all samples share
        best_sample: Int[Tensor, "tasks envs 1 1"] = density.argmax(2, keepdim=True).unsqueeze(-1)
        return first_best(rates.take_along_dim(best_sample, 2).squeeze(2))


@dataclass(frozen=True, eq=False)
class Gittins(BanditStrategy):
    """Pull the arm of the highest Gittins index, which is optimal for discounted rewards without a horizon.

    `pulls` is the largest number of pulls per trial. With `gamma` 1 Whittle's approximation is used.
    """

    pulls: int
    gamma: float = 1.0

    def check(self) -> None:
        if self.pulls < 1 or not 0 < self.gamma <= 1:
            raise InputError(f"pulls {self.pulls}, gamma {self.gamma}: give 1 or more, and above 0 up to 1")

    def probabilities(self, wins: Tensor, losses: Tensor, time_step: TimeStep) -> Tensor:  # noqa: ARG002
        table = whittle_index(self.pulls) if self.gamma == 1 else gittins_index(self.pulls, self.gamma)
        if self.step > self.pulls:
            raise InputError(f"Gittins has indices for {self.pulls} pulls, but the trial is longer: set its `pulls`")
        return first_best(table.to(wins)[wins.long(), losses.long()])
