"""Strategies for Bernoulli bandits that were thought out, not learned: what a learned agent's figure is to be read beside.

Definitions are those with which Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016,
arXiv:1611.02779, section 3.1, filled their Table 1: an arm's odds are uniform in [0, 1] before it is pulled, so to begin with
an arm counts as one win and one loss, for UCB1 and the greedy ones too; of arms that are equally good the first is pulled.

Each is a Policy, to be lived with from the start of a trial: `mdps.rollout(Thompson(mdps))`. What it needs of chance it draws
from the luck of its tasks.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core import InputError, MDPs, Policy, Seen
from lightning_meta.envs import Bandits, TwoArms
from lightning_meta.rl.gittins import gittins_index, whittle_index
from lightning_meta.rl.posteriors import beta


@dataclass(frozen=True, eq=False)
class BanditStrategy(Policy):
    """phi: how often each arm won and lost, [tasks, envs, arms], in so many steps; None where a trial begins."""

    mdps: MDPs
    wins: Tensor | None = field(default=None, kw_only=True)
    losses: Tensor | None = field(default=None, kw_only=True)
    step: int = field(default=0, kw_only=True)
    before: Seen | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.mdps.world, (Bandits, TwoArms)):
            raise InputError(
                f"{type(self).__name__} is a strategy for Bandits and TwoArms, not for {type(self.mdps.world).__name__}"
            )
        self.check()

    def check(self) -> None:
        """Raise InputError where a number is not legal."""

    def act(self, seen: Seen) -> tuple[Distribution, "BanditStrategy"]:
        won, lost = (seen.action * x.unsqueeze(-1) for x in (seen.reward, 1 - seen.reward))  # both 0 at the start
        wins, losses = (
            (won, lost) if self.wins is None or self.losses is None else (self.wins + won, self.losses + lost)
        )
        following = replace(self, wins=wins, losses=losses, step=self.step + 1, before=None)
        return Categorical(probs=self.odds(wins, losses, seen), validate_args=False), following

    def after(self, seen: Seen) -> "BanditStrategy":
        return replace(self, before=seen)

    @abstractmethod
    def odds(
        self, wins: Float[Tensor, "tasks envs arms"], losses: Float[Tensor, "tasks envs arms"], seen: Seen
    ) -> Float[Tensor, "tasks envs arms"]:
        """Of the next pull."""


def first_best(merit: Float[Tensor, "tasks envs arms"]) -> Float[Tensor, "tasks envs arms"]:
    """All odds for the arm of the highest merit; of equals for the first."""
    return F.one_hot(merit.argmax(-1), merit.shape[-1]).to(merit)


def expected(wins: Float[Tensor, "*arms"], losses: Float[Tensor, "*arms"]) -> Float[Tensor, "*arms"]:
    """The mean of Beta(1 + wins, 1 + losses)."""
    return (wins + 1) / (wins + losses + 2)


class Random(BanditStrategy):
    """Any arm."""

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        return torch.ones_like(wins) / wins.shape[-1]


class Oracle(BanditStrategy):
    """Told the task: the best arm, always."""

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        return first_best(self.mdps.task.unsqueeze(1).expand_as(wins))


@dataclass(frozen=True, eq=False)
class Greedy(BanditStrategy):
    """The arm that is the best as expected or, with a chance of `epsilon`, any."""

    epsilon: float = 0.0

    def check(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon}; it must be between 0 and 1")

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        return (1 - self.epsilon) * first_best(expected(wins, losses)) + self.epsilon / wins.shape[-1]


class WinStayLoseShift(BanditStrategy):
    """The same arm again if it won, any other if it lost: what an agent can do that remembers one pull.

    Herbert Robbins. Some Aspects of the Sequential Design of Experiments. Bulletin of the AMS 58(5), 1952.
    """

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        others = 1 - seen.action  # at the start any arm
        won = seen.reward.unsqueeze(-1)
        return won * seen.action + (1 - won) * others / others.sum(-1, keepdim=True).clamp(min=1)


@dataclass(frozen=True, eq=False)
class UCB1(BanditStrategy):
    """The arm of the highest mean + c sqrt(2 log t / pulls), after t pulls in all; c is 1 in theory.

    Peter Auer, Nicolo Cesa-Bianchi and Paul Fischer. Finite-time Analysis of the Multiarmed Bandit Problem. Machine Learning
    47, 2002. The factor is Jean-Yves Audibert's and Remi Munos's.
    """

    c: float = 1.0

    def check(self) -> None:
        if self.c < 0:
            raise InputError(f"c is {self.c}; give 0 or more")

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        wide = (2 * math.log(max(self.step, 1)) / (wins + losses + 2)).sqrt()
        return first_best(expected(wins, losses) + self.c * wide)


@dataclass(frozen=True, eq=False)
class Thompson(BanditStrategy):
    """The arm that is the best in a draw from the posterior. Optimistic (OTS in the paper's table) with more `samples`, of
    which the one with the highest posterior density counts.

    William R. Thompson. On the Likelihood that One Unknown Probability Exceeds Another in View of the Evidence of Two Samples.
    Biometrika 25, 1933.
    """

    samples: int = 1

    def check(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}; give 1 or more")

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        wins, losses = (x.unsqueeze(2).expand(-1, -1, self.samples, -1) for x in (wins, losses))
        drawn = beta(wins + 1, losses + 1, self.mdps.draws, f"thompson/{self.step}")
        logs = torch.xlogy(wins, drawn) + torch.xlogy(losses, 1 - drawn)
        density = logs.sum(-1)  # less what all draws have in common
        likeliest: Int[Tensor, "tasks envs 1 1"] = density.argmax(2, keepdim=True).unsqueeze(-1)
        return first_best(drawn.take_along_dim(likeliest, 2).squeeze(2))


@dataclass(frozen=True, eq=False)
class Gittins(BanditStrategy):
    """The arm of the highest Gittins index, which is optimal if pay is discounted and goes on for ever. pulls: of a trial, at
    most. A `discount` of 1 takes Whittle's approximation."""

    pulls: int
    discount: float = 1.0

    def check(self) -> None:
        if self.pulls < 1 or not 0 < self.discount <= 1:
            raise InputError(f"pulls {self.pulls}, discount {self.discount}: give 1 or more, and above 0 up to 1")

    def odds(self, wins: Tensor, losses: Tensor, seen: Seen) -> Tensor:  # noqa: ARG002
        table = whittle_index(self.pulls) if self.discount == 1 else gittins_index(self.pulls, self.discount)
        if self.step > self.pulls:
            raise InputError(f"Gittins has indices for {self.pulls} pulls, the trial is longer: set its `pulls`")
        return first_best(table.to(wins)[wins.long(), losses.long()])
