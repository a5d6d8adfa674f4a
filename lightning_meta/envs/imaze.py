"""The I-maze: a corridor with a bar across each end, so four alcoves, and a reward in one of them.

Volodymyr Mnih et al.'s Labyrinth has it in three dimensions, where Jane X. Wang et al. Learning to Reinforcement Learn. 2016,
arXiv:1611.05763, section 3.2.2, and Piotr Mirowski et al. Learning to Navigate in Complex Environments. ICLR 2017,
arXiv:1611.03673, use it; here it is a grid, with rewards on a scale of our own.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Transition, World

UP, DOWN, LEFT, RIGHT = range(4)


class IMaze(World):
    """A grid maze in the shape of an I, whose task is the alcove that holds the reward.

    Cells are (row, column): rows 0 .. length along the corridor in column 0; columns -1 and 1 in the first and the last row.

    Each step costs 1 / horizon, so that shorter ways have larger returns. The observation is which of up, down, left and
    right is open, then the cue, left or right, if it is visible in this cell.

    Args:
        ends: With 2, the reward is in the left or the right alcove of the last row; both of them end an episode, with
            reward 1 or -1. An episode starts at (0, 0), where a cue shows the side in the first episode of a trial only:
            later ones must remember it. With 4, the reward is in any alcove and only that one ends an episode, with reward
            1; an episode starts anywhere in the corridor without a cue, so the first one must search.
        length: The number of steps from the first row to the last.
        horizon: The largest number of steps per episode.
    """

    def __init__(self, ends: int = 2, length: int = 3, horizon: int = 20):
        if ends not in (2, 4):
            raise InputError(f"ends is {ends}: give 2 or 4")
        if not 1 <= length < horizon:
            raise InputError(f"length {length}, horizon {horizon}: give a length of 1 or more, and a longer horizon")
        self.length, self.ends, self.tasks = length, ends, ends
        self.observations, self.actions, self.discrete = 6, 4, True
        self.horizon, self.noise = horizon, 1

    def task(self, seeds: Int[Tensor, " tasks"]) -> Int[Tensor, " tasks"]:
        return seeds % self.ends

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:
        return self.start(task, torch.full_like(u, self.ends == 2), u)

    def soft_reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:
        return self.start(task, torch.zeros_like(u), u)

    def start(self, task: Tensor, cue: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state and observation at the start, with a cue (1) or without (0)."""
        row = torch.zeros_like(u) if self.ends == 2 else (u * (self.length + 1)).floor()
        state = torch.cat([row, torch.zeros_like(u), cue], -1)
        return state, self.observe(task, state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        row, column, cue = state.unbind(-1)
        along = (action == UP).to(row) - (action == DOWN).to(row)
        across = (action == RIGHT).to(row) - (action == LEFT).to(row)
        next_row = torch.where(column == 0, (row + along).clamp(0, self.length), row)
        column = torch.where(self.in_bar(row), (column + across).clamp(-1, 1), column)
        alcove = task.unsqueeze(1)
        at_goal = (column == 2 * (alcove % 2) - 1) & (next_row == torch.where(alcove < 2, self.length, 0))
        terminated = at_goal if self.ends == 4 else (column != 0) & (next_row == self.length)
        reward = at_goal.to(row) - (terminated & ~at_goal).to(row) - 1 / self.horizon
        state = torch.stack([next_row, column, cue], -1)
        return Transition(state, self.observe(task, state), reward, terminated)

    def observe(self, task: Tensor, state: Float[Tensor, "tasks envs 3"]) -> Float[Tensor, "tasks envs 6"]:
        row, column, cue = state.unbind(-1)
        bar, middle = self.in_bar(row), column == 0
        cue_visible = (cue > 0) & (row == 0) & middle
        right = task.unsqueeze(1) % 2 == 1
        ways = [middle & (row < self.length), middle & (row > 0), bar & (column > -1), bar & (column < 1)]
        return torch.stack([*ways, cue_visible & ~right, cue_visible & right], -1).to(state)

    def in_bar(self, row: Float[Tensor, "tasks envs"]) -> Bool[Tensor, "tasks envs"]:
        return (row == 0) | (row == self.length)
