"""Tasks by seeds: a pure function of where they stand, shared by processes, gone on with exactly."""

import pytest
import torch
from torch import Tensor

from datamodules.sampling.loader import MetaLoader
from datamodules.worlds import Worlds, WorldStream
from lightning_meta.core import InputError, MDPs, World
from lightning_meta.envs import Bandits, PointRobot, RevealTask


class Alcoves(Bandits):
    """Bandits of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = 3


def numbers(batches: list[MDPs]) -> list[tuple[list[int], list[int]]]:
    return [(batch.seeds.tolist(), batch.noise_seeds.tolist()) for batch in batches]


def stream(**options: object) -> WorldStream:
    return WorldStream(Bandits(), "train", 22, 8, seed=3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [None, range(5)])
def test_two_processes_read_the_halves_of_what_one_reads(known: range | None) -> None:
    whole = numbers(list(stream(known=known)))
    halves = [numbers(list(stream(known=known, rank=rank, world=2))) for rank in (0, 1)]
    assert [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*halves, strict=True)] == whole
    assert [len(seeds) for seeds, _ in whole] == [8, 8, 6]


def test_tasks_and_noise_seeds_differ_between_places_splits_epochs_and_seeds() -> None:
    def names(split: str = "train", seed: int = 0, epoch: int = 0) -> Tensor:
        tasks = WorldStream(Bandits(), split, 1000, 1000, seed)
        tasks.epoch = epoch
        (batch,) = tasks
        return torch.cat([batch.seeds, batch.noise_seeds])

    found = torch.cat([names(), names("val"), names(seed=1), names(epoch=1)])
    assert len(found.unique()) == len(found)
    assert torch.equal(names(), names())
    (batch,) = WorldStream(Bandits(), "train", 1000, 1000)
    assert batch.task.mean() == pytest.approx(0.5, abs=0.02)


def test_known_tasks_come_in_turn_in_another_order_each_round_with_other_noise_seeds() -> None:
    seeds = [seed for batch, _ in numbers(list(stream(known=range(10, 15)))) for seed in batch]
    rounds = [seeds[:5], seeds[5:10], seeds[10:15], seeds[15:20]]
    assert all(sorted(one) == [10, 11, 12, 13, 14] for one in rounds)
    assert any(one != rounds[0] for one in rounds)
    assert len({draw for _, draws in numbers(list(stream(known=range(10, 15)))) for draw in draws}) == 22


def test_splits_of_train_tasks_are_disjoint_and_those_of_a_finite_world_have_all_tasks() -> None:
    def met(data: Worlds) -> list[set[int]]:
        return [{seed for b in data.streams(s)[0] for seed in b.seeds.tolist()} for s in ("train", "val", "test")]

    few = Worlds(Bandits(), meta_batch=4, epoch_batches=5, train_tasks=6, val_tasks=3, test_tasks=2)
    assert met(few) == [set(range(6)), {6, 7, 8}, {9, 10}]
    assert met(Worlds(Alcoves(), meta_batch=4, epoch_batches=2, val_tasks=4, test_tasks=6)) == [{0, 1, 2}] * 3


def test_validation_is_frozen_and_training_continues_from_epoch_to_epoch() -> None:
    data = Worlds(Bandits(), meta_batch=4, epoch_batches=2, val_tasks=6)
    val, train = data.val_dataloader(), data.train_dataloader()
    assert numbers(list(val)) == numbers(list(val))
    assert numbers(list(train)) != numbers(list(train))


def test_a_loader_continues_with_the_next_meta_batch() -> None:
    loader, batches = MetaLoader(stream(known=range(5))), []
    for batch in loader:
        batches.append(batch)
        if len(batches) == 2:
            state = loader.state_dict()
    again = MetaLoader(stream(known=range(5)))
    again.load_state_dict(state)
    assert numbers(list(again)) == numbers(batches[2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_batch": 0}, "meta_batch is 0"),
        ({"train_tasks": 0}, "train_tasks is 0"),
        ({"world": Alcoves(), "train_tasks": 2}, "Alcoves has 3 tasks, which are in every"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Worlds(**({"world": Bandits()} | options))  # type: ignore[arg-type]


def test_a_stream_in_one_of_several_processes_needs_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WorldStream its rank and world"):
        WorldStream(Bandits(), "train", 4, 2)
    with pytest.raises(InputError, match="meta_batch is 3"):
        WorldStream(Bandits(), "train", 6, 3, rank=0, world=2)


def test_the_inner_world_of_a_wrapper_is_part_of_the_identity_of_the_tasks() -> None:
    dense, again, sparse = (Worlds(RevealTask(PointRobot(reward))) for reward in ("dense", "dense", "sparse"))
    assert dense.judged_on == again.judged_on != sparse.judged_on


class Several(Bandits):
    """Made of lists of settings and of worlds."""

    def __init__(self, odds: list[float], *worlds: World):
        super().__init__()
        self.odds, self.worlds = odds, worlds


def test_settings_may_be_lists_and_several_worlds() -> None:
    def judged_on(odds: list[float], *arms: int) -> str:
        return Worlds(Several(odds, *(Bandits(n) for n in arms))).judged_on

    assert judged_on([0.1, 0.9], 2, 3) == judged_on([0.1, 0.9], 2, 3)
    assert len({judged_on([0.1, 0.9], 2, 3), judged_on([0.1, 0.9], 2, 4), judged_on([0.5, 0.9], 2, 3)}) == 3


def test_straight_to_the_goal_a_sparse_point_robot_earns_13_4_in_meta_test() -> None:
    """The oracle that the README sets beside what an agent earns there, on the same tasks."""
    data = Worlds(PointRobot("sparse"), train_tasks=80, val_tasks=20, test_tasks=100)
    goals, nothing = data.world.task(data.streams("test")[0].draw(0, range(100)).seeds), torch.zeros(100, 1, 0)
    place, _ = data.world.reset(goals, nothing)
    total = 0.0
    for _ in range(data.world.horizon):
        place, _, reward, _ = data.world.step(goals, place, 10 * (goals[:, None] - place), nothing)
        total += reward.mean().item()
    assert total == pytest.approx(13.386, abs=0.001)
