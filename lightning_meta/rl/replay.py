"""Replay: what was lived through of late, kept to be learned from again."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.rl.processes import from_all_processes

STATE = ("lives", "length", "written")
DAMAGED = "the checkpoint's replay is damaged: go on from another one, or start anew without --ckpt_path"


class Replay(nn.Module):
    """The latest `capacity` lives of each of `rows` tasks. A life is one stretch of time, an episode or a whole trial: for
    each step a record of some width, [time, width].

    All processes keep the same, what each has lived through. So whatever they draw is the same on one process as on many,
    and the checkpoint of one resumes them all. The state is plain tensors, as large as what is kept; memory grows with it,
    to twice as much at most.
    """

    def __init__(self, rows: int, capacity: int):
        super().__init__()
        if min(rows, capacity) < 1:
            raise InputError(f"a replay of {rows} tasks and {capacity} lives of each: give 1 or more of both")
        self.rows, self.capacity = rows, capacity
        self.left_out = False  # of the checkpoint that it was loaded from
        self.lives: Tensor | None = None  # [rows, room, time, width], once it is known how long and wide lives are
        self.length = torch.zeros(rows, capacity, dtype=torch.long)  # steps of each life
        self.written = torch.zeros(rows, dtype=torch.long)  # lives ever written

    @torch.no_grad()
    def add(
        self,
        rows: Int[Tensor, " tasks"],
        lives: Float[Tensor, "tasks envs time width"],
        length: Int[Tensor, "tasks envs"],
    ) -> None:
        """Keep these lives, or of more than can be kept the last, in the place of the oldest. Behind its `length` a life may
        hold anything."""
        rows, lives, length = (from_all_processes(part) for part in (rows, lives, length))
        envs, same = lives.shape[1], rows == rows.unsqueeze(1)
        before, after = (part.sum(1) * envs for part in (same.tril(-1), same.triu(1)))  # of the same task in this batch
        self.length, self.written = (part.to(rows.device) for part in (self.length, self.written))
        most = int((self.written.index_add(0, rows, torch.full_like(rows, envs))).max())
        kept = self.with_room(min(most, self.capacity), lives)
        new = torch.arange(envs, device=rows.device)
        place = ((self.written[rows] + before).unsqueeze(1) + new) % self.capacity
        stays = after.unsqueeze(1) + envs - new <= self.capacity
        where = rows.unsqueeze(1).expand_as(place)[stays], place[stays]
        kept[where], self.length[where] = lives[stays], length[stays]
        self.lives = kept
        self.written.index_add_(0, rows, torch.full_like(rows, envs))

    def with_room(
        self, lives: int, like: Float[Tensor, "tasks envs time width"]
    ) -> Float[Tensor, "rows room time width"]:
        """What is kept, with room for so many lives of each task, like these."""
        kept = self.lives if self.lives is not None else like.new_zeros(self.rows, 0, *like.shape[2:])
        if kept.shape[1] < lives:
            more = min(max(lives, 2 * kept.shape[1]), self.capacity) - kept.shape[1]
            kept = torch.cat([kept.to(like.device), like.new_zeros(self.rows, more, *like.shape[2:])], 1)
        return kept.to(like.device)

    def check(self, time: int, width: int) -> None:
        """InputError where it holds other lives than of so many steps and numbers a step, or a checkpoint left them out."""
        if self.left_out:
            raise InputError(
                "the checkpoint holds no replay, which only `best` leaves out: go on from the last one, --ckpt_path last"
            )
        if self.lives is not None and self.lives.shape[2:] != (time, width):
            raise InputError(
                f"the checkpoint's replay holds lives of {self.lives.shape[2]} steps of {self.lives.shape[3]} numbers, this"
                f" world makes some of {time} of {width}: go on in the world, and for the horizon and episodes, that it was"
                " trained with, or start anew without --ckpt_path"
            )

    def known(self, u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Tasks of which something is kept, any as likely as another: the ones that numbers u in (0, 1) stand for."""
        known = self.written.nonzero().squeeze(1)
        return known[(u * len(known)).long()]

    def steps(
        self, rows: Int[Tensor, " tasks"], u: Float[Tensor, "tasks n"], last: int | None = None
    ) -> Float[Tensor, "tasks n width"]:
        """n steps of each task's lives, of its `last` ones alone if given; any step as likely as another."""
        length = self.length[rows]
        if last is not None:
            age = (self.written[rows].unsqueeze(1) - 1 - torch.arange(self.capacity, device=u.device)) % self.capacity
            length = length.where(age < last, 0)
        end = length.cumsum(1)
        place = (u * end[:, -1:]).long()
        life = torch.searchsorted(end, place, right=True)
        return self.kept[rows.unsqueeze(1), life, place - (end - length).gather(1, life)]

    def whole(
        self, rows: Int[Tensor, " tasks"], u: Float[Tensor, "tasks n"]
    ) -> tuple[Float[Tensor, "tasks n time width"], Int[Tensor, "tasks n"]]:
        """n whole lives of each task, any as likely as another, and how long each is."""
        life = (u * self.written[rows].clamp(max=self.capacity).unsqueeze(1)).long()
        return self.kept[rows.unsqueeze(1), life], self.length[rows.unsqueeze(1), life]

    @property
    def kept(self) -> Float[Tensor, "rows capacity time width"]:
        assert self.lives is not None, "nothing was added yet"
        return self.lives

    def get_extra_state(self) -> dict[str, Tensor | None]:
        """No more of lives than there ever was of a task."""
        kept = self.lives
        if kept is not None:
            kept = kept[:, : int(self.written.max().clamp(max=self.capacity))].clone()  # a view would be saved whole
        return {"lives": kept, "length": self.length, "written": self.written}

    def set_extra_state(self, state: Any) -> None:
        """Copies, for what is kept changes in place. `add` brings them to its device."""
        lives, length, written = (state.get(name) if isinstance(state, dict) else None for name in STATE)
        if not (isinstance(length, Tensor) and isinstance(written, Tensor)) or written.shape != length.shape[:1]:
            raise InputError(DAMAGED)
        if length.shape != self.length.shape:
            raise InputError(
                f"the checkpoint's replay holds (tasks, lives) {tuple(length.shape)}, this agent's"
                f" {tuple(self.length.shape)}: build it with the settings that it was trained with"
            )
        most = int(written.max().clamp(max=self.capacity))
        if lives is not None and not (
            isinstance(lives, Tensor) and lives.ndim == 4 and lives.shape[:2] == (self.rows, most)
        ):
            raise InputError(DAMAGED)
        self.lives = None if lives is None else lives.clone()
        self.length, self.written = length.clone(), written.clone()
        self.left_out = lives is None and most > 0


def without_lives(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict in which no replay holds what was lived through."""
    return {
        name: {**value, "lives": None} if isinstance(value, dict) and {"lives", "written"} <= value.keys() else value
        for name, value in state.items()
    }
