"""The I-maze: a corridor with a bar across each end, so four alcoves, and a reward in one of them.

Volodymyr Mnih et al.'s Labyrinth has it in three dimensions, where Jane X. Wang et al. Learning to Reinforcement Learn. 2016,
arXiv:1611.05763, section 3.2.2, and Piotr Mirowski et al. Learning to Navigate in Complex Environments. ICLR 2017,
arXiv:1611.03673, use it; here it is a grid, with rewards of our own scale.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import InputError, Moved, World

UP, DOWN, LEFT, RIGHT = range(4)


class IMaze(World):
    """Cells (row, column): rows 0 .. length along the corridor, column 0; columns -1 and 1 in the first and the last row.

    ends 2: the reward lies left or right of the last row; both these alcoves end an episode, with 1 or with -1. An episode
    starts at (0, 0), where a cue tells the side, but only before the first episode of a trial is over: later ones must
    remember. ends 4: the reward lies in any alcove and only it ends an episode, with 1; an episode starts anywhere in the
    corridor, and no cue is shown, so the first one must search.

    Each step costs 1 / horizon: what is left of the 1 tells how short the way was. The observation is which of up, down, left
    and right is open, then the cue, left or right, if it is seen here. The task is the number of the alcove.
    """

    def __init__(self, ends: int = 2, length: int = 3, horizon: int = 20):
        if ends not in (2, 4):
            raise InputError(f"ends {ends}: give 2 or 4")
        if not 1 <= length < horizon:
            raise InputError(f"length {length}, horizon {horizon}: give a length of 1 or more, and a longer horizon")
        self.length, self.ends, self.tasks = length, ends, ends
        self.observations, self.actions, self.discrete = 6, 4, True
        self.horizon, self.noise = horizon, 1

    def task(self, seeds: Int[Tensor, " tasks"]) -> Int[Tensor, " tasks"]:
        return seeds % self.ends

    def reset(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:
        return self.placed(task, torch.full_like(u, self.ends == 2), u)

    def again(self, task: Tensor, u: Float[Tensor, "tasks envs 1"]) -> tuple[Tensor, Tensor]:
        return self.placed(task, torch.zeros_like(u), u)

    def placed(self, task: Tensor, cue: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """At the start, with a cue or without."""
        row = torch.zeros_like(u) if self.ends == 2 else (u * (self.length + 1)).floor()
        state = torch.cat([row, torch.zeros_like(u), cue], -1)
        return state, self.seen(task, state)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Moved:  # noqa: ARG002
        row, column, cue = state.unbind(-1)
        along = (action == UP).to(row) - (action == DOWN).to(row)
        across = (action == RIGHT).to(row) - (action == LEFT).to(row)
        moved = torch.where(column == 0, (row + along).clamp(0, self.length), row)
        column = torch.where(self.in_bar(row), (column + across).clamp(-1, 1), column)
        number = task.unsqueeze(1)
        found = (column == 2 * (number % 2) - 1) & (moved == torch.where(number < 2, self.length, 0))
        ended = found if self.ends == 4 else (column != 0) & (moved == self.length)
        reward = found.to(row) - (ended & ~found).to(row) - 1 / self.horizon
        state = torch.stack([moved, column, cue], -1)
        return Moved(state, self.seen(task, state), reward, ended)

    def seen(self, task: Tensor, state: Float[Tensor, "tasks envs 3"]) -> Float[Tensor, "tasks envs 6"]:
        row, column, cue = state.unbind(-1)
        bar, middle = self.in_bar(row), column == 0
        here = (cue > 0) & (row == 0) & middle
        right = task.unsqueeze(1) % 2 == 1
        ways = [middle & (row < self.length), middle & (row > 0), bar & (column > -1), bar & (column < 1)]
        return torch.stack([*ways, here & ~right, here & right], -1).to(state)

    def in_bar(self, row: Float[Tensor, "tasks envs"]) -> Bool[Tensor, "tasks envs"]:
        return (row == 0) | (row == self.length)
