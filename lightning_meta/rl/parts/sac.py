"""Soft actor-critic with a value network.

Tuomas Haarnoja, Aurick Zhou, Pieter Abbeel and Sergey Levine. Soft Actor-Critic: Off-Policy Maximum Entropy Deep
Reinforcement Learning with a Stochastic Actor. ICML 2018, arXiv:1801.01290.
"""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.rl.parts.distributions import SquashedNormal
from lightning_meta.rl.parts.networks import call_frozen, relu_mlp, soft_update

# The weight of the squared outputs of the policy, as in the code of PEARL's authors: tanh of large outputs has no slope.
OUTPUT_PENALTY = 0.001


class Losses(NamedTuple):
    """The losses of the networks, scalars averaged over tasks and steps, and the entropy of the policy in nats."""

    critic: Float[Tensor, ""]
    value: Float[Tensor, ""]
    actor: Float[Tensor, ""]
    entropy: Float[Tensor, ""]


class SoftActorCritic(nn.Module):
    """Two critics Q(x, a), a value V(x) with a target network, and a policy pi(a | x).

    The weight of the entropy is 1, so rewards must be scaled.

    Args:
        inputs: The length of x, which describes the state.
        actions: Numbers in an action.
        width: The width of the hidden layers of every network.
        depth: The number of hidden layers of every network.
    """

    def __init__(self, inputs: int, actions: int, width: int, depth: int):
        super().__init__()
        hidden = [width] * depth
        self.actor = relu_mlp(inputs, *hidden, 2 * actions)
        self.critics = nn.ModuleList(relu_mlp(inputs + actions, *hidden, 1) for _ in range(2))
        self.value = relu_mlp(inputs, *hidden, 1)
        self.target_value = copy.deepcopy(self.value).requires_grad_(False)

    def policy(self, x: Float[Tensor, "*batch inputs"]) -> SquashedNormal:
        """Return the distribution of actions at x."""
        mean, log_std = self.actor(x).chunk(2, -1)
        return SquashedNormal(mean, log_std.clamp(-20, 2).exp())

    def losses(
        self,
        x: Float[Tensor, "*batch inputs"],
        action: Float[Tensor, "*batch actions"],
        reward: Float[Tensor, "*batch"],
        next_x: Float[Tensor, "*batch inputs"],
        terminated: Float[Tensor, "*batch"],
        gamma: float,
        u: Float[Tensor, "*batch actions"],
    ) -> Losses:
        """Return the losses on a batch of transitions.

        Each loss trains its own networks only; that of the critics also has a gradient to x.

            Q(x, a) -> r + gamma (1 - terminated) V'(x')             (eq. 7 and 8)
            V(x)    -> min Q(x, a') - log pi(a' | x), a' ~ pi        (eq. 5; the lesser of the two critics)
            pi      minimises E[log pi(a' | x) - min Q(x, a')]       (eq. 12)

        Args:
            x: the state.
            action: the action that was taken.
            reward: its reward.
            next_x: the next state.
            terminated: 1 if the episode ended there, otherwise 0.
            gamma: the discount.
            u: uniform numbers in (0, 1), from which the actions a' of the policy are sampled.
        """
        with torch.no_grad():
            target = reward + gamma * (1 - terminated) * self.target_value(next_x).squeeze(-1)
        q1, q2 = self.q_values(x, action)
        critic = (q1 - target).square().mean() + (q2 - target).square().mean()
        x = x.detach()
        policy = self.policy(x)
        new_action, log_prob = policy.rsample_from(u)
        log_prob = log_prob.sum(-1)
        inputs = torch.cat([x, new_action], -1)
        min_q = torch.minimum(*(call_frozen(q, inputs).squeeze(-1) for q in self.critics))
        value = (self.value(x).squeeze(-1) - (min_q - log_prob).detach()).square().mean()
        penalty = OUTPUT_PENALTY * (policy.normal.mean.square() + policy.normal.stddev.log().square()).mean()
        return Losses(critic, value, (log_prob - min_q).mean() + penalty, -log_prob.mean().detach())

    def q_values(self, x: Float[Tensor, "*batch inputs"], action: Float[Tensor, "*batch actions"]) -> list[Tensor]:
        """Return Q_1 and Q_2, [*batch] each."""
        return [critic(torch.cat([x, action], -1)).squeeze(-1) for critic in self.critics]

    def update_target(self, tau: float) -> None:
        """Move the target value network towards the value network."""
        soft_update(self.target_value, self.value, tau)
