"""Planning in tabular MDPs, many at once: what was counted of them, and value iteration to a horizon.

Axis names: `states` twice in odds [..., states, actions, states] of the next state; values are [..., horizon, states, actions].
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import Seen


class Experience(NamedTuple):
    """moved: how often an action led to a state, [tasks, envs, states, actions, states]. tried, paid: how often an action was
    taken, and all that it paid, [tasks, envs, states, actions]. at: the state now, one-hot, [tasks, envs, states]."""

    moved: Float[Tensor, "tasks envs states actions behind"]
    tried: Float[Tensor, "tasks envs states actions"]
    paid: Float[Tensor, "tasks envs states actions"]
    at: Float[Tensor, "tasks envs states"]

    @classmethod
    def none(cls, seen: Seen) -> "Experience":
        """Where a trial begins."""
        nothing = torch.zeros_like(seen.observation.unsqueeze(-1) * seen.action.unsqueeze(-2))
        moved = nothing.unsqueeze(-1).expand(*nothing.shape, seen.observation.shape[-1])
        return cls(moved, nothing, nothing, seen.observation)

    def after(self, seen: Seen) -> "Experience":
        """One step on. Where that ended an episode, the state now begins another: it is not where the action led."""
        taken = self.at.unsqueeze(-1) * seen.action.unsqueeze(-2)
        went = seen.observation * (1 - seen.done).unsqueeze(-1)
        return Experience(
            self.moved + taken.unsqueeze(-1) * went[:, :, None, None],
            self.tried + taken,
            self.paid + taken * seen.reward[..., None, None],
            seen.observation,
        )

    def mean(self, prior: float, weight: float) -> Float[Tensor, "tasks envs states actions"]:
        """Mean rewards as expected, a prior mean counting as so many rewards."""
        return (prior * weight + self.paid) / (weight + self.tried)

    def odds(self, weight: float) -> Float[Tensor, "tasks envs states actions behind"]:
        """Of next states as expected, each counting as seen so often before."""
        moved = self.moved + weight
        return moved / moved.sum(-1, keepdim=True)


def value_iteration(
    odds: Float[Tensor, "*batch states actions behind"],
    means: Float[Tensor, "*batch states actions"],
    horizon: int,
    bonus: Float[Tensor, "*batch states actions"] | None = None,
) -> Float[Tensor, "*batch horizon states actions"]:
    """The sum of rewards from each step of an episode on, if an action is followed by the best ones. An action has its `bonus`
    once for each step that is left after it."""
    value, plan = torch.zeros_like(means[..., 0]), []
    for left in range(horizon):
        found = means + (odds * value[..., None, None, :]).sum(-1)
        found = found if bonus is None else found + left * bonus
        plan.append(found)
        value = found.amax(-1)
    return torch.stack(plan[::-1], -3)


def optimistic_iteration(
    odds: Float[Tensor, "*batch states actions behind"],
    means: Float[Tensor, "*batch states actions"],
    slack: Float[Tensor, "*batch states actions"],
    horizon: int,
) -> Float[Tensor, "*batch horizon states actions"]:
    """The same in the best of the MDPs whose odds differ by at most `slack` in sum of absolute values: half of it goes to the
    best next state, from the worst ones (Jaksch et al. 2010, figure 2)."""
    value, plan = torch.zeros_like(means[..., 0]), []
    for _ in range(horizon):
        ranked, order = value.sort(-1)
        sorted_odds = odds.take_along_dim(order[..., None, None, :], -1)
        best = sorted_odds[..., -1]
        gained = torch.minimum(slack / 2, 1 - best).unsqueeze(-1)
        lost = torch.minimum(sorted_odds[..., :-1].cumsum(-1), gained).diff(dim=-1, prepend=torch.zeros_like(gained))
        odds_then = sorted_odds + torch.cat([-lost, gained], -1)
        found = means + (odds_then * ranked[..., None, None, :]).sum(-1)
        plan.append(found)
        value = found.amax(-1)
    return torch.stack(plan[::-1], -3)
