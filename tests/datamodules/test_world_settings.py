"""The settings of a world, by content: a search compares agents that were posed the same tasks, and a report can tell."""

import functools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.world_settings import Settings
from datamodules.worlds import Worlds
from lightning_meta import envs
from lightning_meta.core import InputError
from lightning_meta.envs import Bandits
from lightning_meta.training.hparams import flat


class Made(Bandits):
    """Bandits that keep what they are made of."""

    def __init__(self, of: Any):
        super().__init__(2, 3)
        self.of = of


@dataclass
class Record:
    """A setting that holds another."""

    number: int
    inner: Any = None


class Slotted:
    """A setting without a dictionary."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number


def emptied(number: int) -> Callable[[int], int]:
    """A function that closes over a variable which is gone."""
    gone = number
    made = lambda x: x + gone if number else x  # noqa: E731
    del gone
    return made


def adds(number: int) -> Callable[[int], int]:
    return lambda x: x + number


PAIRS: dict[str, Callable[[int], Any]] = {
    "tensor": lambda k: torch.tensor([0.0, k]),
    "large tensor": lambda k: torch.full((1000,), float(k)),
    "bfloat16": lambda k: torch.full((2,), float(k), dtype=torch.bfloat16),
    "types": lambda k: torch.zeros(2, dtype=torch.float32 if k else torch.float64),
    "array": lambda k: np.arange(3) + k,
    "array of text": lambda k: np.array([str(k)]),
    "closure": adds,
    "empty closure": emptied,
    "code": lambda k: (lambda x: x) if k else (lambda x: x + 1),
    "defaults": lambda k: eval(f"lambda x={k}: x"),
    "partial": lambda k: functools.partial(adds, k),
    "method": lambda k: Record(k).__repr__,
    "set": lambda k: {1, k + 2},
    "dictionary": lambda k: {"a": {1: k}},
    "dataclass": Record,
    "nested": lambda k: [Record(0, (Record(1, torch.tensor(k)),))],
    "slots": Slotted,
    "module": lambda k: torch.nn.Linear(1, 1 + k),
    "generator": np.random.default_rng,
    "world": lambda k: Bandits(2, 3 + k),
    "class": lambda k: Bandits if k else Made,
    "not a number": lambda k: float("nan") if k else 0.0,
}


@pytest.mark.parametrize("kind", PAIRS)
def test_worlds_differ_by_what_they_are_made_of(kind: str) -> None:
    one, same, other = (Worlds(Made(PAIRS[kind](k))).judged_on for k in (0, 0, 1))
    assert other != one
    if kind != "module":  # whose weights are drawn
        assert same == one


class InSlots(Bandits):
    """Keeps a setting in a slot."""

    __slots__ = ("__hidden",)

    def __init__(self, hidden: int):
        super().__init__(2, 3)
        self.__hidden = hidden


class InItsClass(Bandits):
    """Keeps in its class what its tasks are."""

    odds = 0.5

    def __init__(self, odds: float):
        super().__init__(2, 3)
        type(self).odds = odds

    def task(self, seeds: torch.Tensor) -> torch.Tensor:
        return torch.full((len(seeds), self.actions), float(self.odds))


class InItsModule(Bandits):
    """Pays by a global variable."""

    def __init__(self, pay: float):
        global PAY
        super().__init__(2, 3)
        PAY = pay

    def step(self, task: Any, state: torch.Tensor, action: torch.Tensor, u: torch.Tensor) -> Any:
        return (moved := super().step(task, state, action, u))._replace(reward=moved.reward + PAY)


PAY = 0.0


@pytest.mark.parametrize("kind", [InSlots, InItsClass, InItsModule])
def test_worlds_differ_by_what_they_read_elsewhere(kind: Callable[[float], Any]) -> None:
    one, same, other = (Worlds(kind(k)).judged_on for k in (0, 0, 1))
    assert one == same != other


def test_a_part_that_cannot_be_compared_is_refused_by_name_and_class() -> None:
    data = Worlds(Made({"held": [threading.Lock()]}))
    with pytest.raises(InputError, match=r"^Made\.of\.held\[0\], a _thread\.lock, cannot be compared"):
        _ = data.judged_on
    assert "_thread.lock" in json.dumps(data.protocol("test"))


def test_a_world_that_holds_itself_has_settings() -> None:
    world = Made(1)
    world.of = world
    assert flat(Settings(world).value)["of"] == "itself"


@pytest.mark.parametrize(
    "world",
    [Bandits(), envs.RevealTask(envs.Navigation()), envs.TwoArms("hard")],
    ids=lambda world: type(world).__name__,
)
def test_a_report_holds_all_settings_as_json(world: Any) -> None:
    found = json.loads(json.dumps(Worlds(world).protocol("test")["world"]))
    assert found["horizon"] == world.horizon
    assert flat(found)["class"].endswith(type(world).__name__)
    assert flat(Settings(envs.RevealTask(envs.Navigation(7))).value)["world.horizon"] == 7
