"""A faulty world of a user is refused in one line, and a trajectory holds copies."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.worlds import Worlds
from lightning_meta import envs
from lightning_meta.core import InputError, MDPs, Transition, World, rehearse_world
from lightning_meta.envs.running import Running
from lightning_meta.rl import MAML
from support.packaged_worlds import packaged_worlds
from wrong_worlds import Faulty, Late

TWO = torch.arange(2)

FAULTS = {
    "state in place": ["Faulty.step changes its state in place", "return new tensors"],
    "task in place": ["Faulty.step changes its task in place"],
    "action in place": ["Faulty.step changes its action in place"],
    "u in place": ["Faulty.reset changes its u in place"],
    "own memory": ["Faulty.step changes its state in place"],
    "torch's chance": ["Faulty.task draws from a global random generator", "uniform(seeds"],
    "numpy's chance": ["Faulty.reset draws from a global random generator", "take all random numbers from u"],
    "python's chance": ["Faulty.step draws from a global random generator"],
    "seeded": ["Faulty.task draws from a global random generator or seeds one"],
    "own generator": ["Faulty.task, called twice with the same arguments", "derive it from the seeds only"],
    "counting": ["Faulty.step, called twice with the same arguments", "stateful = True"],
    "neighbours": ["Faulty.step returns something else for a task in a batch of two than for the task by itself"],
    "neighbouring task": [
        "Faulty.task returns something else for a task in a batch of two than for the task by itself"
    ],
    "five": ["Faulty.step returned a tuple of 5", "Transition(state, observation, reward, terminated)", "`horizon`"],
    "nothing": ["Faulty.step returned None", "Transition("],
    "float terminated": ["the terminated of Faulty.step is torch.float32: give torch.bool"],
    "whole terminated": ["the terminated of Faulty.step is torch.int64: give torch.bool"],
    "reward of numpy": ["the reward of Faulty.step is a numpy.ndarray: give a torch tensor [2, 2] (tasks, envs)"],
    "reward with an axis": ["the reward of Faulty.step is a tensor [2, 2, 1]: give one [2, 2] (tasks, envs)"],
    "reward for a task": ["the reward of Faulty.step is a tensor [2, 1]: give one [2, 2]"],
    "complex reward": ["the reward of Faulty.step is torch.complex64: give real numbers"],
    "wide": ["the observation of Faulty.step is a tensor [2, 2, 4]: give one [2, 2, 2]"],
    "without a width": ["the observation of Faulty.step is a tensor [2, 2]: give one [2, 2, 2] (tasks, envs, numbers)"],
    "flat state": ["the state of Faulty.step is a tensor [2, 2]: give one [2, 2, 1]"],
    "elsewhere": ["the observation of Faulty.step is on meta: create it on cpu"],
    "state of numpy": ["the state of Faulty.reset is a numpy.ndarray: give a torch tensor [2, 2, any]"],
    "one start": ["Faulty.reset returned a torch.Tensor: return (state, observation)"],
    "other width": ["the state of Faulty.soft_reset is [2, 2, 2], that of its step [2, 2, 1]"],
    "too many tasks": ["the result of Faulty.task is a tensor [4]: give one [2, ...]"],
    "no task": ["the result of Faulty.task is None: return a tensor [tasks, ...]"],
    "two actions": ["Faulty.step fails with IndexError", "wrong_worlds.py, line", "actions 0 to 2"],
    "typing": ["Faulty.step fails with AttributeError", "squeze"],
    "dense": ["the result of Faulty.dense_reward is a tensor [2, 2]: give one [2, 2, 2]"],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_rehearsal_names_the_method_and_what_to_do(fault: str) -> None:
    with pytest.raises(InputError) as refused:
        rehearse_world(Faulty(fault), MDPs(Faulty(fault), TWO, TWO))
    said = str(refused.value)
    assert "\n" not in said
    for part in FAULTS[fault]:
        assert part in said, said


LATER = {
    "task in place": "Late.step changes its task in place",
    "state in place": "Late.step changes its state in place",
    "torch's chance": "Late.step draws from a global random generator",
    "counting": "Late.step, tried twice with the same seeds and u, returns something else the second time",
    "fails": "Late.step fails at step 6 with IndexError: list index out of range",
    "five": "Late.step returned a tuple of 5",
    "narrow": "the observation of Late.step is a tensor [2, 2, 0]: give one [2, 2, 1]",
}


@pytest.mark.parametrize("fault", LATER)
def test_a_rehearsal_continues_until_an_episode_ends(fault: str) -> None:
    with pytest.raises(InputError, match=re.escape(LATER[fault])):
        rehearse_world(Late(fault), MDPs(Late(fault), TWO, TWO))


@pytest.mark.parametrize(
    ("fault", "says"),
    {
        "fails": "Late.step fails at step 251 of rollout with IndexError: list index out of range",
        "five": "Late.step returned a tuple of 5",
        "narrow": "the observation of Late.step is a tensor",
    }.items(),
)
def test_faults_after_the_rehearsal_are_reported_too(fault: str, says: str) -> None:
    world = Late(fault, after=250, horizon=300)
    mdps = MDPs(world, TWO, TWO)
    rehearse_world(world, mdps)
    with pytest.raises(InputError, match=re.escape(says)) as refused:
        mdps.rollout(MAML(1, 2, True, hidden=(4,)).prior(mdps), envs=2)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "says"),
    {
        "set horizon=None": "Faulty.horizon is not set: set it to a whole number of 1 or more, steps after which",
        "set horizon=0": "Faulty.horizon is 0",
        "set actions=text": "Faulty.actions is '3'",
        "set observations=-1": "Faulty.observations is -1",
        "set noise=None": "Faulty.noise is not set",
        "set discrete=one": "Faulty.discrete is 1: set it to True",
        "set tasks=0": "Faulty.tasks is 0",
    }.items(),
)
def test_the_attributes_of_a_world_must_be_legal(fault: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Worlds(Faulty(fault))


@pytest.mark.parametrize(
    "fault", ["five", "float terminated", "reward of numpy", "reward with an axis", "wide", "one start"]
)
def test_shapes_are_checked_without_a_rehearsal_too(fault: str) -> None:
    mdps = MDPs(Faulty(fault), TWO, TWO)
    with pytest.raises(InputError, match="Faulty"):
        mdps.rollout(MAML(2, 3, True, hidden=(4,)).prior(mdps), envs=2)


@pytest.mark.parametrize(
    "world",
    [
        Faulty(),
        Late(),
        *(world for world in packaged_worlds() if not isinstance(world, Running)),
        envs.RevealTask(envs.PointRobot("sparse")),
        envs.CartPole(discrete=False),
        envs.IMaze(4),
    ],
    ids=lambda world: type(world).__name__,
)
def test_a_correct_world_passes_and_no_global_generator_is_used(world: World) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), str(np.random.get_state())
    rehearse_world(world, MDPs(world, TWO, TWO))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


class Simulator(World):
    """A simulator that holds its state itself and starts afresh in reset."""

    observations, actions, discrete, horizon, noise, stateful = 1, 1, False, 3, 1, True

    def __init__(self, forgets: bool = True):
        self.place, self.forgets = torch.zeros(0), forgets

    def task(self, seeds: Tensor) -> Tensor:
        return 1.0 + seeds % 2

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        if self.forgets or self.place.shape != u.shape:
            self.place = u.clone()
        return torch.zeros_like(u), self.place

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        self.place += task[:, None, None] * action + u
        return Transition(state, self.place, self.place[..., 0], self.place[..., 0] > 99)


def test_a_simulator_may_keep_a_state_of_its_own_but_must_start_afresh_in_reset() -> None:
    rehearse_world(Simulator(), MDPs(Simulator(), TWO, TWO))
    with pytest.raises(
        InputError, match=r"Simulator\.reset, tried twice with the same seeds and u, returns something else"
    ):
        rehearse_world(Simulator(forgets=False), MDPs(Simulator(), TWO, TWO))


class Drift(World):
    """A world whose state, observation and reward are one tensor that each step adds 1 to, as to the task."""

    observations, actions, discrete, horizon, noise = 1, 1, False, 3, 0

    def task(self, seeds: Tensor) -> Tensor:
        return seeds.float()

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        start = torch.zeros(*u.shape[:2], 1)
        return start, start

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        action.fill_(9.0)
        state += 1
        return Transition(state, state, state[..., 0], torch.zeros(state.shape[:2], dtype=torch.bool))


def test_a_trajectory_holds_copies() -> None:
    mdps = MDPs(Drift(), TWO[:1], TWO[:1])
    trajectory, _ = mdps.rollout(MAML(1, 1, False, envs=1).prior(mdps), episodes=2)
    assert trajectory.time_steps.observation.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert trajectory.next_observation.flatten().tolist() == [1, 2, 3, 1, 2, 3]
    assert trajectory.reward.flatten().tolist() == [1, 2, 3, 1, 2, 3]
    assert trajectory.time_steps.previous_reward.flatten().tolist() == [0, 1, 2, 3, 1, 2]
    assert trajectory.returns(2).flatten().tolist() == [6, 6]
    assert not (trajectory.action == 9).any()
