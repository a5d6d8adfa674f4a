"""Soft actor-critic with a value network.

Tuomas Haarnoja, Aurick Zhou, Pieter Abbeel and Sergey Levine. Soft Actor-Critic: Off-Policy Maximum Entropy Deep
Reinforcement Learning with a Stochastic Actor. ICML 2018, arXiv:1801.01290.
"""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.rl.distributions import SquashedNormal
from lightning_meta.rl.networks import follow, held, layers

SMALL = 0.001  # weight of the policy's squared outputs, as in the code of PEARL's authors: far out tanh has no slope


class Losses(NamedTuple):
    """Scalars, means over tasks and steps. entropy: of the policy, in nats."""

    critic: Float[Tensor, ""]
    value: Float[Tensor, ""]
    actor: Float[Tensor, ""]
    entropy: Float[Tensor, ""]


class SoftActorCritic(nn.Module):
    """Two critics Q(x, a), a value V(x) with a target that follows it, and a policy pi(a | x); the entropy's weight is 1, so
    rewards are to be scaled.

    x: what is known of the state, `inputs` numbers. Networks have `depth` hidden layers of `width`.
    """

    def __init__(self, inputs: int, actions: int, width: int, depth: int):
        super().__init__()
        hidden = [width] * depth
        self.actor = layers(inputs, *hidden, 2 * actions)
        self.critics = nn.ModuleList(layers(inputs + actions, *hidden, 1) for _ in range(2))
        self.value = layers(inputs, *hidden, 1)
        self.target = copy.deepcopy(self.value).requires_grad_(False)

    def policy(self, x: Float[Tensor, "*batch inputs"]) -> SquashedNormal:
        mean, log_std = self.actor(x).chunk(2, -1)
        return SquashedNormal(mean, log_std.clamp(-20, 2).exp())

    def losses(
        self,
        x: Float[Tensor, "*batch inputs"],
        action: Float[Tensor, "*batch actions"],
        reward: Float[Tensor, "*batch"],
        next_x: Float[Tensor, "*batch inputs"],
        terminated: Float[Tensor, "*batch"],
        discount: float,
        u: Float[Tensor, "*batch actions"],
    ) -> Losses:
        """Each loss reaches its own networks alone, and the critics' that of x as well. u: numbers in (0, 1), the policy's
        chance.

        Q(x, a) -> r + discount (1 - terminated) V'(x')          (eq. 7 and 8)
        V(x)    -> min Q(x, a') - log pi(a' | x), a' ~ pi        (eq. 5; of the two critics the lesser)
        pi      :  E[log pi(a' | x) - min Q(x, a')] is to fall   (eq. 12)
        """
        with torch.no_grad():
            wanted = reward + discount * (1 - terminated) * self.target(next_x).squeeze(-1)
        q1, q2 = self.judge(x, action)
        critic = (q1 - wanted).square().mean() + (q2 - wanted).square().mean()
        x = x.detach()
        policy = self.policy(x)
        chosen, log_prob = policy.draw(u)
        log_prob = log_prob.sum(-1)
        worth = torch.minimum(*(held(critic, torch.cat([x, chosen], -1)).squeeze(-1) for critic in self.critics))
        value = (self.value(x).squeeze(-1) - (worth - log_prob).detach()).square().mean()
        small = SMALL * (policy.normal.mean.square() + policy.normal.stddev.log().square()).mean()
        return Losses(critic, value, (log_prob - worth).mean() + small, -log_prob.mean().detach())

    def judge(self, x: Float[Tensor, "*batch inputs"], action: Float[Tensor, "*batch actions"]) -> list[Tensor]:
        """Q_1 and Q_2, [*batch] each."""
        return [critic(torch.cat([x, action], -1)).squeeze(-1) for critic in self.critics]

    def follow(self, rate: float) -> None:
        """Let the target follow the value network."""
        follow(self.target, self.value, rate)
