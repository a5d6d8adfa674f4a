"""The interface of a policy, and the sampling of actions from given random numbers."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core.trajectory import TimeStep


class Policy(ABC):
    """phi, an adapted agent, as a value: acting returns a new policy, which remembers what this one observed.

    Attributes:
        resume_from: the result of the last action of an earlier rollout, which the next rollout begins with; None if a
            trial begins, or if the policy has no memory.
    """

    resume_from: TimeStep | None = None

    @abstractmethod
    def act(self, time_step: TimeStep) -> tuple[Distribution, "Policy"]:
        """Return the distribution of the next action and the policy to continue with.

        The distribution has the batch shape [tasks, envs] for discrete actions and [tasks, envs, actions] for continuous
        ones. The policy is this one, or one with an updated memory.
        """

    def end_rollout(self, time_step: TimeStep) -> "Policy":  # noqa: ARG002
        """Return the policy at the end of a rollout, given the result of its last action. By default this policy.

        A policy with a memory keeps the time step as `resume_from`.
        """
        return self


def sample_action(distribution: Distribution, u: Float[Tensor, "tasks envs k"]) -> Tensor:
    """Sample actions by inverting the cumulative distribution at u, uniform in (0, 1). For discrete actions k is 1."""
    if isinstance(distribution, Categorical):
        return (distribution.probs.float().cumsum(-1) < u).sum(-1).clamp(max=distribution.probs.shape[-1] - 1)
    return distribution.icdf(u)


def log_prob(distribution: Distribution, action: Tensor) -> Float[Tensor, "tasks envs *time"]:
    """Return the log probability of whole actions in nats; of continuous actions, the log density."""
    result = distribution.log_prob(action)
    return result if isinstance(distribution, Categorical) else result.sum(-1)
