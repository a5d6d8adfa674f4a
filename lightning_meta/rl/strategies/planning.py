"""Planning in batches of tabular MDPs: counts of transitions, and value iteration to a horizon.

Axis names: `states` occurs twice in transition probabilities [..., states, actions, next_states]; values are
[..., horizon, states, actions].
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import TimeStep


class Experience(NamedTuple):
    """Counts of what happened in a trial.

    Attributes:
        transitions: how often an action led to a state, [tasks, envs, states, actions, next_states].
        visits: how often an action was taken, [tasks, envs, states, actions].
        rewards: the sum of the rewards of an action, [tasks, envs, states, actions].
        state: the current state, one-hot, [tasks, envs, states].
    """

    transitions: Float[Tensor, "tasks envs states actions next_states"]
    visits: Float[Tensor, "tasks envs states actions"]
    rewards: Float[Tensor, "tasks envs states actions"]
    state: Float[Tensor, "tasks envs states"]

    @classmethod
    def empty(cls, time_step: TimeStep) -> "Experience":
        """Return the counts at the first step of a trial."""
        zeros = torch.zeros_like(time_step.observation.unsqueeze(-1) * time_step.previous_action.unsqueeze(-2))
        transitions = zeros.unsqueeze(-1).expand(*zeros.shape, time_step.observation.shape[-1])
        return cls(transitions, zeros, zeros, time_step.observation)

    def updated(self, time_step: TimeStep) -> "Experience":
        """Return the counts one step later.

        If that step ended an episode, the current state begins another one and is not where the action led.
        """
        visit = self.state.unsqueeze(-1) * time_step.previous_action.unsqueeze(-2)
        next_state = time_step.observation * (1 - time_step.previous_done).unsqueeze(-1)
        return Experience(
            self.transitions + visit.unsqueeze(-1) * next_state[:, :, None, None],
            self.visits + visit,
            self.rewards + visit * time_step.previous_reward[..., None, None],
            time_step.observation,
        )

    def mean_rewards(self, prior: float, weight: float) -> Float[Tensor, "tasks envs states actions"]:
        """Return the expected rewards, with a prior mean that counts as `weight` observed rewards."""
        return (prior * weight + self.rewards) / (weight + self.visits)

    def probabilities(self, weight: float) -> Float[Tensor, "tasks envs states actions next_states"]:
        """Return the expected transition probabilities, with `weight` prior observations of each next state."""
        transitions = self.transitions + weight
        return transitions / transitions.sum(-1, keepdim=True)


def value_iteration(
    probabilities: Float[Tensor, "*batch states actions next_states"],
    means: Float[Tensor, "*batch states actions"],
    horizon: int,
    bonus: Float[Tensor, "*batch states actions"] | None = None,
) -> Float[Tensor, "*batch horizon states actions"]:
    """Return the sum of rewards from each step of an episode on, if the best actions follow an action.

    An action receives its `bonus` once for each step that is left after it.
    """
    value, plan = torch.zeros_like(means[..., 0]), []
    for left in range(horizon):
        q_values = means + (probabilities * value[..., None, None, :]).sum(-1)
        q_values = q_values if bonus is None else q_values + left * bonus
        plan.append(q_values)
        value = q_values.amax(-1)
    return torch.stack(plan[::-1], -3)


def optimistic_iteration(
    probabilities: Float[Tensor, "*batch states actions next_states"],
    means: Float[Tensor, "*batch states actions"],
    slack: Float[Tensor, "*batch states actions"],
    horizon: int,
) -> Float[Tensor, "*batch horizon states actions"]:
    """Return the same as `value_iteration` for the best MDP within an L1 distance `slack` of these probabilities.

    Half of the slack is moved to the best next state, from the worst ones (Jaksch et al. 2010, figure 2).
    """
    value, plan = torch.zeros_like(means[..., 0]), []
    for _ in range(horizon):
        sorted_value, order = value.sort(-1)
        sorted_odds = probabilities.take_along_dim(order[..., None, None, :], -1)
        best = sorted_odds[..., -1]
        gain = torch.minimum(slack / 2, 1 - best).unsqueeze(-1)
        loss = torch.minimum(sorted_odds[..., :-1].cumsum(-1), gain).diff(dim=-1, prepend=torch.zeros_like(gain))
        optimistic = sorted_odds + torch.cat([-loss, gain], -1)
        q_values = means + (optimistic * sorted_value[..., None, None, :]).sum(-1)
        plan.append(q_values)
        value = q_values.amax(-1)
    return torch.stack(plan[::-1], -3)
