"""Replay: which lives are kept, how they are drawn, that a checkpoint holds them, and that processes share them."""

import io

import pytest
import torch
from torch import Tensor

from lightning_meta.core import InputError, uniform
from lightning_meta.rl.parts.replay import Replay, without_trajectories


def lives(*names: int, time: int = 3, envs: int = 1) -> Tensor:
    """One life for each name, [names, envs, time, 2]: its steps are (name, 0), (name, 1), ..."""
    name = torch.tensor(names, dtype=torch.float).reshape(-1, envs, 1).expand(-1, -1, time)
    return torch.stack([name, torch.arange(time).expand_as(name)], -1)


def add(replay: Replay, rows: list[int], new: Tensor, length: int = 3) -> None:
    replay.add(torch.tensor(rows), new, torch.full(new.shape[:2], length))


def names(replay: Replay, row: int, last: int | None = None) -> set[int]:
    u = torch.linspace(0.001, 0.999, 200).unsqueeze(0)
    return {int(name) for name in replay.sample_steps(torch.tensor([row]), u, last)[0, :, 0]}


def test_the_oldest_life_of_a_task_makes_room_and_the_latest_can_be_told() -> None:
    replay = Replay(rows=2, capacity=3)
    for name in range(5):
        add(replay, [0, 1], lives(name, 10 + name))
    assert names(replay, 0) == {2, 3, 4}
    assert names(replay, 1) == {12, 13, 14}
    assert names(replay, 0, last=1) == {4}
    assert names(replay, 1, last=2) == {13, 14}


def test_a_task_that_comes_twice_in_a_batch_keeps_both() -> None:
    replay = Replay(rows=3, capacity=4)
    add(replay, [2, 0, 2], lives(1, 2, 3, 4, 5, 6, envs=2))
    assert names(replay, 2) == {1, 2, 5, 6}
    assert names(replay, 2, last=2) == {5, 6}
    assert names(replay, 0) == {3, 4}
    add(replay, [1, 0, 1, 1], lives(*range(8), envs=2))
    assert names(replay, 1) == {4, 5, 6, 7}, "of more than can be kept the last"
    assert names(replay, 1, last=1) == {7}
    assert names(replay, 0) == {2, 3, 4}, "and of another what there is"


def test_every_step_within_a_lifes_length_is_as_likely_and_none_behind_it() -> None:
    replay = Replay(rows=1, capacity=4)
    replay.add(torch.tensor([0]), lives(7, 8, envs=2), torch.tensor([[1, 3]]))
    steps = replay.sample_steps(torch.tensor([0]), uniform(torch.tensor([5]), "steps", 8000))[0]
    found, count = steps.unique(dim=0, return_counts=True)
    assert found.tolist() == [[7, 0], [8, 0], [8, 1], [8, 2]]
    assert (count / 2000 - 1).abs().max() < 0.08


def test_whole_lives_come_with_their_length_and_only_known_tasks_are_drawn() -> None:
    replay = Replay(rows=4, capacity=5)
    replay.add(torch.tensor([1, 3]), lives(7, 8), torch.tensor([[2], [3]]))
    assert set(replay.sample_rows(uniform(torch.arange(50), "task")).tolist()) == {1, 3}
    found, length = replay.sample_trajectories(torch.tensor([3, 1]), torch.tensor([[0.1, 0.9], [0.2, 0.7]]))
    assert torch.equal(found, torch.stack([lives(8, 8), lives(7, 7)]).squeeze(2))
    assert length.tolist() == [[3, 3], [2, 2]]


def test_after_a_checkpoint_the_very_same_samples_follow() -> None:
    first, second = Replay(rows=2, capacity=3), Replay(rows=2, capacity=3)
    for name in range(4):
        add(first, [0, 1], lives(name, 10 + name))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    rows, u = torch.tensor([0, 1]), uniform(torch.arange(2), "steps", 40)
    for replay in (first, second):
        add(replay, [1], lives(20))
    assert torch.equal(first.sample_steps(rows, u), second.sample_steps(rows, u))
    assert torch.equal(first.sample_steps(rows, u, last=2), second.sample_steps(rows, u, last=2))
    third = Replay(rows=2, capacity=3)
    third.load_state_dict(first.state_dict())
    add(third, [0], lives(30))
    assert names(first, 0) == {1, 2, 3}, "two replays that share a state dict share no lives"
    with pytest.raises(InputError, match=r"\(2, 3\), that of this agent \(2, 9\)"):
        Replay(rows=2, capacity=9).load_state_dict(first.state_dict())


def test_a_checkpoint_is_as_large_as_the_trajectories_in_it() -> None:
    """Not as what may be kept, and memory at most twice as large."""
    replay = Replay(rows=3, capacity=1000)
    for name in range(5):
        add(replay, [0, 1], lives(name, name))
        assert replay.kept.shape[1] <= 2 * (name + 1)
    state = replay.state_dict()["_extra_state"]
    assert state["trajectories"].shape == (3, 5, 3, 2)
    assert state["trajectories"].untyped_storage().nbytes() == 3 * 5 * 3 * 2 * 4
    again = Replay(rows=3, capacity=1000)
    again.load_state_dict(replay.state_dict())
    for name in range(5, 1100):
        add(again, [0], lives(name))
    assert again.kept.shape[1] == 1000
    assert names(again, 0, last=2) == {1098, 1099}
    assert names(again, 1) == {0, 1, 2, 3, 4}


def test_lives_of_another_shape_or_left_out_are_refused() -> None:
    replay = Replay(rows=1, capacity=2)
    replay.check(3, 2)
    add(replay, [0], lives(5))
    replay.check(3, 2)
    with pytest.raises(InputError, match="holds trajectories of 3 steps of 2 numbers, but this world gives 9 of 2"):
        replay.check(9, 2)
    bare = Replay(rows=1, capacity=2)
    bare.load_state_dict(without_trajectories(replay.state_dict()))
    with pytest.raises(InputError, match="--ckpt_path last"):
        bare.check(3, 2)
    empty = Replay(rows=1, capacity=2)
    empty.load_state_dict(without_trajectories(Replay(rows=1, capacity=2).state_dict()))
    empty.check(3, 2)


def test_an_empty_replay_is_a_state_too() -> None:
    replay = Replay(rows=1, capacity=2)
    replay.load_state_dict(Replay(rows=1, capacity=2).state_dict())
    add(replay, [0], lives(5))
    assert names(replay, 0) == {5}
    with pytest.raises(InputError, match="give 1 or more of both"):
        Replay(rows=0, capacity=2)
