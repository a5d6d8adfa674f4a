"""A meta-batch of decision processes, and the rollout of policies in them."""

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core.errors import InputError
from lightning_meta.core.noise import uniform
from lightning_meta.core.policy import Policy, log_prob, sample_action
from lightning_meta.core.trajectory import TimeStep, Trajectory, stack_steps
from lightning_meta.core.world import World
from lightning_meta.core.world_calls import call
from lightning_meta.core.world_checks import check_start, check_task, check_transition


class MDPs:
    """M_1 ... M_tasks: one decision process per task.

    Args:
        world: the family that the processes belong to.
        seeds: the seed of each task, which determines its parameters.
        noise_seeds: the seed of each task's random numbers. The same task with another noise seed has other starts, noise
            and sampled actions.
    """

    def __init__(self, world: World, seeds: Int[Tensor, " tasks"], noise_seeds: Int[Tensor, " tasks"]):
        self.world, self.seeds, self.noise_seeds = world, seeds, noise_seeds

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def task(self) -> Any:
        """The parameters that differ between the tasks, as `World.task` returns them."""
        task = call(self.world, "task", (self.seeds,))
        check_task(self.world, task, len(self), self.seeds.device)
        return task

    def to(self, device: torch.device | str) -> "MDPs":
        return MDPs(self.world, self.seeds.to(device), self.noise_seeds.to(device))

    def uniform(self, purpose: str, *shape: int) -> Float[Tensor, "tasks *shape"]:
        """Return random numbers in (0, 1) for each task, [tasks, *shape]; every purpose has numbers of its own."""
        return uniform(self.noise_seeds, purpose, *shape)

    @torch.no_grad()
    def rollout(
        self,
        policy: Policy,
        envs: int = 1,
        episodes: int = 1,
        purpose: str = "rollout",
        greedy: bool = False,
        steps: int | None = None,
    ) -> tuple[Trajectory, Policy]:
        """Roll out a policy in parallel copies of every task.

        A policy without `resume_from` begins a trial. One that remembers an earlier rollout continues its trial with a new
        episode. An env that has completed its episodes keeps running, and is recorded as not valid, until all envs have
        completed theirs; what a policy remembers continues with it. The record holds copies, so a world may reuse its
        tensors later.

        Args:
            policy: the policy to roll out.
            envs: the number of parallel copies of each task.
            episodes: the number of episodes in each copy.
            purpose: names the random numbers; another purpose has others.
            greedy: whether to take the most likely action instead of sampling one.
            steps: the largest number of steps; None for all steps of the episodes.

        Returns:
            The trajectory, and the policy at its end.

        Raises:
            InputError: if an observation, a reward or an output of the policy is not finite, if the world returns other
                shapes or types than it should, or if the policy remembers another number of tasks.
        """
        world, all_steps = self.world, episodes * self.world.horizon
        steps = all_steps if steps is None else min(steps, all_steps)
        real = torch.get_default_dtype()  # what an agent observes, whatever dtype a world computes in
        noise = self.uniform(f"{purpose}/world", steps + 1, envs, 2, world.noise).movedim(1, 0)
        action_noise = self.uniform(f"{purpose}/action", steps, envs, 1 if world.discrete else world.actions)
        action_noise = action_noise.movedim(1, 0)
        method = "reset" if policy.resume_from is None else "soft_reset"
        start = call(world, method, (self.task, noise[steps][..., 0, :]))
        check_start(world, method, start, len(self), envs, self.seeds.device)
        state, observation = start[0], start[1].to(real, copy=True)
        zeros = torch.zeros(len(self), envs, device=self.seeds.device)
        first = TimeStep(observation, zeros.unsqueeze(-1).expand(-1, -1, world.actions), zeros, zeros)
        time_step = first if policy.resume_from is None else resume(policy.resume_from, first)
        age, episodes_left = zeros.long(), zeros.long() + episodes
        records, all_done = [], False
        for step in range(steps):
            distribution, policy = policy.act(time_step)
            action = distribution.mode if greedy else sample_action(distribution, action_noise[step])
            action_log_prob = zeros if greedy and not world.discrete else log_prob(distribution, action)
            when = f" at step {step + 1} of {purpose}"
            transition = call(world, "step", (self.task, state, action.clone(), noise[step][..., 0, :]), when)
            check_transition(world, state, transition)
            age, terminated = age + 1, transition.terminated.clone()
            truncated = (age >= world.horizon) & ~terminated
            done, valid = terminated | truncated, episodes_left > 0
            reward = transition.reward.to(real, copy=True)
            next_observation = transition.observation.to(real, copy=True)
            records.append(
                Trajectory(time_step, action, action_log_prob, reward, next_observation, terminated, truncated, valid)
            )
            episodes_left, state, observation = episodes_left - done.long(), transition.state, next_observation
            if done.any():
                all_done = not (episodes_left > 0).any()
                age = age.where(~done, 0)
                new_state, new_observation = call(world, "soft_reset", (self.task, noise[step][..., 1, :]), when)
                state = torch.where(done.unsqueeze(-1), new_state, state)
                observation = torch.where(done.unsqueeze(-1), new_observation.to(real), observation)
            time_step = TimeStep(observation, self.encode_action(action), reward, done.to(real))
            if all_done:
                break
        trajectory = stack_steps(records)
        check_finite(world, trajectory)
        return trajectory, policy.end_rollout(time_step._replace(previous_done=torch.ones_like(zeros)))

    def encode_action(self, action: Tensor) -> Float[Tensor, "tasks envs actions"]:
        """Return an action as an agent observes it: one-hot if actions are discrete."""
        return F.one_hot(action, self.world.actions).to(torch.get_default_dtype()) if self.world.discrete else action


def resume(resume_from: TimeStep, first: TimeStep) -> TimeStep:
    """Return the first time step of a rollout that continues a trial.

    Each env of the earlier rollout continues in as many envs as there are per earlier one.
    """
    (tasks, envs), (earlier_tasks, earlier_envs) = first.previous_reward.shape, resume_from.previous_reward.shape
    if tasks != earlier_tasks or envs % earlier_envs:
        raise InputError(
            f"the policy remembers {earlier_tasks} tasks in {earlier_envs} envs and cannot act in {tasks} tasks in {envs}"
            f" envs: give it the same tasks, and a multiple of {earlier_envs} envs"
        )
    return TimeStep(first.observation, *(part.repeat_interleave(envs // earlier_envs, 1) for part in resume_from[1:]))


def check_finite(world: World, trajectory: Trajectory) -> None:
    """Raise InputError if a value is not finite, naming the first one.

    It is called once per rollout, because every look at a value waits for the device.
    """
    parts = [
        ("an observation", trajectory.time_steps.observation),
        ("the policy", trajectory.action),
        ("the policy", trajectory.log_prob),
        ("a reward", trajectory.reward),
        ("an observation", trajectory.next_observation),
    ]
    if torch.stack([values.isfinite().all() for _, values in parts]).all():
        return
    broken = [(~values.isfinite()).movedim(2, 0).flatten(1).any(1) for _, values in parts]
    first = int(torch.stack(broken, 1).nonzero()[0, 1])
    raise InputError(
        f"{parts[first][0]} in {type(world).__name__} is not a finite number: if it is the policy, lower the learning rates or"
        " clip gradients; otherwise look at the world"
    )
