"""A replay buffer of recent trajectories."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.core.distributed import gather_from_processes

STATE = ("trajectories", "length", "added")
DAMAGED = (
    "the replay of the checkpoint is damaged: continue from another checkpoint, or start again without --ckpt_path"
)


class Replay(nn.Module):
    """The latest `capacity` trajectories of each of `rows` tasks.

    A trajectory is one stretch of time, an episode or a whole trial: a record of a fixed width per step, [time, width].

    All processes keep the same trajectories, which each of them has gathered from all. So what they sample is the same on
    one process as on many, and the checkpoint of one resumes them all. The state is plain tensors, as large as what is
    kept; memory grows with it, to twice as much at most.

    Args:
        rows: The number of tasks.
        capacity: The number of trajectories that are kept per task.
    """

    def __init__(self, rows: int, capacity: int):
        super().__init__()
        if min(rows, capacity) < 1:
            raise InputError(
                f"the replay has {rows} tasks and {capacity} trajectories per task: give 1 or more of both"
            )
        self.rows, self.capacity = rows, capacity
        self.left_out = False  # whether the loaded checkpoint left the trajectories out
        self.trajectories: Tensor | None = None  # [rows, room, time, width], as soon as time and width are known
        self.length = torch.zeros(rows, capacity, dtype=torch.long)  # steps of each trajectory
        self.added = torch.zeros(rows, dtype=torch.long)  # trajectories ever added

    @torch.no_grad()
    def add(
        self,
        rows: Int[Tensor, " tasks"],
        trajectories: Float[Tensor, "tasks envs time width"],
        length: Int[Tensor, "tasks envs"],
    ) -> None:
        """Keep trajectories in place of the oldest; if there are more than fit, keep the last ones.

        Args:
            rows: the row of each task.
            trajectories: the records, whose values after `length` steps do not matter.
            length: the number of steps of each trajectory.
        """
        rows, trajectories, length = (gather_from_processes(part) for part in (rows, trajectories, length))
        envs, same = trajectories.shape[1], rows == rows.unsqueeze(1)
        before, after = (part.sum(1) * envs for part in (same.tril(-1), same.triu(1)))  # of the same task in this batch
        self.length, self.added = (part.to(rows.device) for part in (self.length, self.added))
        most = int((self.added.index_add(0, rows, torch.full_like(rows, envs))).max())
        kept = self.with_room(min(most, self.capacity), trajectories)
        new = torch.arange(envs, device=rows.device)
        place = ((self.added[rows] + before).unsqueeze(1) + new) % self.capacity
        stays = after.unsqueeze(1) + envs - new <= self.capacity
        where = rows.unsqueeze(1).expand_as(place)[stays], place[stays]
        kept[where], self.length[where] = trajectories[stays], length[stays]
        self.trajectories = kept
        self.added.index_add_(0, rows, torch.full_like(rows, envs))

    def with_room(
        self, count: int, like: Float[Tensor, "tasks envs time width"]
    ) -> Float[Tensor, "rows room time width"]:
        """Return the kept trajectories, with room for `count` per task of the same shape as `like`."""
        kept = self.trajectories if self.trajectories is not None else like.new_zeros(self.rows, 0, *like.shape[2:])
        if kept.shape[1] < count:
            more = min(max(count, 2 * kept.shape[1]), self.capacity) - kept.shape[1]
            kept = torch.cat([kept.to(like.device), like.new_zeros(self.rows, more, *like.shape[2:])], 1)
        return kept.to(like.device)

    def check(self, time: int, width: int) -> None:
        """Raise InputError if a checkpoint left the trajectories out, or holds others than [time, width]."""
        if self.left_out:
            raise InputError(
                "the checkpoint holds no replay, because `best` leaves it out: continue from the last one, --ckpt_path last"
            )
        if self.trajectories is not None and self.trajectories.shape[2:] != (time, width):
            kept_time, kept_width = self.trajectories.shape[2:]
            raise InputError(
                f"the replay of the checkpoint holds trajectories of {kept_time} steps of {kept_width} numbers, but this"
                f" world gives {time} of {width}: continue in the world, with the horizon and episodes, that it was trained"
                " with, or start again without --ckpt_path"
            )

    def sample_rows(self, u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Sample tasks that have trajectories, with equal probability, from u uniform in (0, 1)."""
        known = self.added.nonzero().squeeze(1)
        return known[(u * len(known)).long()]

    def sample_steps(
        self, rows: Int[Tensor, " tasks"], u: Float[Tensor, "tasks n"], last: int | None = None
    ) -> Float[Tensor, "tasks n width"]:
        """Sample n steps per task with equal probability, from u uniform in (0, 1).

        Args:
            rows: the row of each task.
            u: one random number per step.
            last: sample only from this number of latest trajectories; None for all.
        """
        length = self.length[rows]
        if last is not None:
            age = (self.added[rows].unsqueeze(1) - 1 - torch.arange(self.capacity, device=u.device)) % self.capacity
            length = length.where(age < last, 0)
        end = length.cumsum(1)
        place = (u * end[:, -1:]).long()
        number = torch.searchsorted(end, place, right=True)
        return self.kept[rows.unsqueeze(1), number, place - (end - length).gather(1, number)]

    def sample_trajectories(
        self, rows: Int[Tensor, " tasks"], u: Float[Tensor, "tasks n"]
    ) -> tuple[Float[Tensor, "tasks n time width"], Int[Tensor, "tasks n"]]:
        """Sample n whole trajectories per task with equal probability, and return them with their lengths."""
        number = (u * self.added[rows].clamp(max=self.capacity).unsqueeze(1)).long()
        return self.kept[rows.unsqueeze(1), number], self.length[rows.unsqueeze(1), number]

    @property
    def kept(self) -> Float[Tensor, "rows capacity time width"]:
        assert self.trajectories is not None, "nothing was added yet"
        return self.trajectories

    def get_extra_state(self) -> dict[str, Tensor | None]:
        """Return the state, without the room that no task has used yet."""
        kept = self.trajectories
        if kept is not None:
            kept = kept[:, : int(self.added.max().clamp(max=self.capacity))].clone()  # a view would be saved whole
        return {"trajectories": kept, "length": self.length, "added": self.added}

    def set_extra_state(self, state: Any) -> None:
        """Load copies of the state, because the buffer changes in place. `add` moves them to its device."""
        trajectories, length, added = (state.get(name) if isinstance(state, dict) else None for name in STATE)
        if not (isinstance(length, Tensor) and isinstance(added, Tensor)) or added.shape != length.shape[:1]:
            raise InputError(DAMAGED)
        if length.shape != self.length.shape:
            raise InputError(
                f"the replay of the checkpoint has (tasks, trajectories) {tuple(length.shape)}, that of this agent"
                f" {tuple(self.length.shape)}: build the agent with the settings that it was trained with"
            )
        most = int(added.max().clamp(max=self.capacity))
        if trajectories is not None and not (
            isinstance(trajectories, Tensor) and trajectories.ndim == 4 and trajectories.shape[:2] == (self.rows, most)
        ):
            raise InputError(DAMAGED)
        self.trajectories = None if trajectories is None else trajectories.clone()
        self.length, self.added = length.clone(), added.clone()
        self.left_out = trajectories is None and most > 0


def without_trajectories(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without the trajectories of any replay in it."""
    return {
        name: {**value, "trajectories": None} if isinstance(value, dict) and set(STATE) <= value.keys() else value
        for name, value in state.items()
    }
