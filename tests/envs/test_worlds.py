"""Worlds: tasks, rewards, ends and observations by hand, and the law that a task is the same in any batch."""

import math
from dataclasses import dataclass

import gymnasium
import pytest
import torch
from torch.distributions import Categorical, Distribution

from lightning_meta import envs
from lightning_meta.core import InputError, Policy, TimeStep, Transition, World
from lightning_meta.core.discovery import find_classes
from lightning_meta.envs import (
    Bandits,
    CartPole,
    IMaze,
    Navigation,
    Pendulum,
    PointRobot,
    RevealTask,
    TabularMDPs,
    TwoArms,
)
from lightning_meta.envs.imaze import DOWN, LEFT, RIGHT, UP
from support.packaged_worlds import packaged_worlds
from support.policies import Anything, mdps

SETTINGS = [
    TwoArms("medium", horizon=20),
    PointRobot("dense"),
    IMaze(ends=4),
    Pendulum(lengths=(0.5, 1.5), horizon=20),
    CartPole(discrete=False, velocities=True, horizon=20),
    RevealTask(PointRobot("sparse")),
    RevealTask(TabularMDPs()),
    RevealTask(IMaze()),
]
WORLDS = [*packaged_worlds(), *SETTINGS]
WRAPPERS = {RevealTask}  # take another world, and so have no task file


@dataclass(frozen=True)
class Script(Policy):
    """A policy that takes these actions in turn."""

    actions: tuple[int, ...]

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        logits = torch.full((*time_step.previous_reward.shape, 4), -1e9)
        logits[..., self.actions[0]] = 0
        return Categorical(logits=logits), Script(self.actions[1:])


def moved(world: World, task: object, state: list[float], action: float | list[float], u: list[float]) -> Transition:
    """Take one step of one task in one env."""
    number = torch.tensor(state)[None, None]
    return world.step(task, number, torch.tensor(action)[None, None], torch.tensor(u)[None, None])


def test_every_world_of_the_package_has_a_task_file_and_so_is_tested() -> None:
    worlds = set(find_classes(envs, World).values())
    assert worlds - WRAPPERS == {type(world) for world in packaged_worlds()}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_a_task_is_the_same_in_any_batch_and_has_the_shapes_that_its_world_declares(world: World) -> None:
    both, _ = mdps(world, 4, 7).rollout(Anything(world), envs=3, episodes=2)
    alone, _ = mdps(world, 7).rollout(Anything(world), envs=3, episodes=2)
    steps = alone.reward.shape[2]
    for name in ("reward", "next_observation", "terminated", "truncated"):
        torch.testing.assert_close(getattr(both, name)[1:, :, :steps], getattr(alone, name), atol=1e-5, rtol=1e-5)
    assert alone.time_steps.observation.shape == (1, 3, steps, world.observations)
    assert alone.reward.dtype == alone.next_observation.dtype == torch.float32
    assert not (alone.terminated & alone.truncated).any()
    assert ((alone.terminated | alone.truncated) & alone.valid).sum(-1).tolist() == [[2, 2, 2]]


def test_revealing_the_task_changes_nothing_but_observations() -> None:
    plain = PointRobot("sparse", horizon=5)
    world = RevealTask(plain)
    task = world.task(torch.tensor([4, 7]))
    dark, _ = mdps(plain, 4, 7).rollout(Anything(plain), envs=3, episodes=2)
    lit, _ = mdps(world, 4, 7).rollout(Anything(world), envs=3, episodes=2)
    assert torch.equal(lit.reward, dark.reward)
    for shown, own in (
        (lit.time_steps.observation, dark.time_steps.observation),
        (lit.next_observation, dark.next_observation),
    ):
        assert torch.equal(shown, torch.cat([own, task[:, None, None].expand_as(own)], -1))
    assert torch.equal(world.dense_reward(task, lit), plain.dense_reward(task, dark))


@pytest.mark.parametrize(("odds", "low"), [("easy", 0.1), ("medium", 0.25), ("hard", 0.4)])
def test_probabilities_of_correlated_arms_add_up_to_one(odds: str, low: float) -> None:
    task = TwoArms(odds).task(torch.arange(200))
    torch.testing.assert_close(task.sum(1), torch.ones(200))
    torch.testing.assert_close(task.min(1).values, torch.full((200,), low))
    assert 70 < (task[:, 0] < 0.5).sum() < 130, "either arm is the better one"


def test_two_arms_show_the_time_and_pay_at_random() -> None:
    world = TwoArms("independent", horizon=4)
    task = torch.tensor([[0.3, 0.8]])
    first = moved(world, task, [0.0], 0, [0.29])
    assert (first.reward.item(), first.observation.item()) == (1, 0.25)
    assert moved(world, task, [0.0], 0, [0.31]).reward.item() == 0
    assert moved(world, task, [1.0], 1, [0.31]).reward.item() == 1
    trajectory, _ = mdps(world, 1).rollout(Anything(world))
    assert trajectory.time_steps.observation.flatten().tolist() == [0, 0.25, 0.5, 0.75]
    uncorrelated = world.task(torch.arange(500))
    assert torch.corrcoef(uncorrelated.T)[0, 1].abs() < 0.15
    assert (TwoArms("uniform").task(torch.arange(500))[:, 0].quantile(torch.tensor([0.25, 0.75]))).tolist() == (
        pytest.approx([0.25, 0.75], abs=0.06)
    )


def test_a_tabular_mdp_has_its_transition_probabilities_and_mean_rewards() -> None:
    world = TabularMDPs(states=3, actions=2)
    odds = torch.zeros(1, 3, 2, 3)
    odds[0, 2, 1] = torch.tensor([0.2, 0.5, 0.3])
    means = torch.arange(6.0).reshape(1, 3, 2)
    for u, next_state in ((0.19, 0), (0.21, 1), (0.69, 1), (0.71, 2), (1 - 1e-7, 2)):
        step = world.step((odds, means), torch.tensor([[[2]]]), torch.tensor([[1]]), torch.tensor([[[u, 0.5]]]))
        assert step.state.item() == next_state
        assert step.observation[0, 0].tolist() == [float(next_state == s) for s in range(3)]
        assert step.reward.item() == pytest.approx(5)
    noisy = world.step((odds, means), torch.tensor([[[2]]]), torch.tensor([[0]]), torch.tensor([[[0.5, 0.84134]]]))
    assert noisy.reward.item() == pytest.approx(5, abs=1e-3), "a mean of 4 and one standard deviation"
    assert world.reset((odds, means), torch.tensor([[[0.9, 0.9]]]))[0].item() == 0


def test_tabular_mdps_are_drawn_from_their_prior() -> None:
    odds, means = TabularMDPs().task(torch.arange(100))
    assert odds.shape == (100, 10, 5, 10)
    torch.testing.assert_close(odds.sum(-1), torch.ones(100, 10, 5))
    assert odds.var().item() == pytest.approx(0.1 * 0.9 / 11, rel=0.05), "of Dirichlet(1): m (1 - m) / (states + 1)"
    assert means.mean().item() == pytest.approx(1, abs=0.05)
    assert means.std().item() == pytest.approx(1, abs=0.05)


def test_navigation_pays_minus_the_distance_and_ends_at_the_goal() -> None:
    world, goal = Navigation(), torch.tensor([[0.3, -0.4]])
    step = moved(world, goal, [0.0, 0.0], [5.0, -0.5], [])
    assert step.state[0, 0].tolist() == pytest.approx([0.1, -0.05]), "at most 0.1 along an axis"
    assert step.reward.item() == pytest.approx(-math.hypot(0.2, 0.35))
    assert not step.terminated
    assert moved(world, goal, [0.2, -0.4], [0.95, 0.0], []).terminated, "0.005 off"
    assert not moved(world, goal, [0.2, -0.4], [0.89, 0.0], []).terminated, "0.011 off"
    goals = world.task(torch.arange(500))
    assert -0.5 < goals.min() < -0.49 < 0.49 < goals.max() < 0.5


def test_a_point_robot_sees_sparse_rewards_and_its_critic_dense_ones() -> None:
    goal = torch.tensor([[0.6, 0.8]])
    for kind, near, far in (("dense", -0.1, -0.3), ("sparse", 0.9, 0.0)):
        world = PointRobot(kind)
        step = moved(world, goal, [0.4, 0.8], [1.0, 0.0], [])
        assert step.reward.item() == pytest.approx(near)
        assert not step.terminated
        assert moved(world, goal, [0.2, 0.8], [1.0, 0.0], []).reward.item() == pytest.approx(far)
    robots = mdps(PointRobot("sparse"), 0, 1)
    trajectory, _ = robots.rollout(Anything(robots.world))
    plain, _ = mdps(PointRobot("dense"), 0, 1).rollout(Anything(robots.world))
    torch.testing.assert_close(robots.world.dense_reward(robots.task, trajectory), plain.reward)
    assert trajectory.truncated[..., -1].all()
    torch.testing.assert_close(robots.task.norm(dim=1), torch.ones(2))
    assert PointRobot().task(torch.arange(99))[:, 1].min() > 0


def test_the_cue_of_a_maze_is_shown_in_the_first_episode_only() -> None:
    trajectory, _ = mdps(IMaze(length=2), 0, 1).rollout(Script((UP, UP, LEFT, UP, UP, RIGHT)), episodes=2)
    assert trajectory.terminated[0, 0].tolist() == [False, False, True] * 2
    cues = trajectory.time_steps.observation[:, 0, :, 4:]
    assert cues[:, 0].tolist() == [[1, 0], [0, 1]], "left is right for task 0"
    assert not cues[:, 1:].any(), "not further on, nor in the second episode"
    torch.testing.assert_close(trajectory.returns(2)[:, 0], torch.tensor([[1, -1], [-1, 1]]) - 3 / 20)


def test_the_walls_of_a_maze() -> None:
    world = IMaze(length=2)
    task = torch.tensor([0])
    for place, ways in {
        (0, 0): [UP, LEFT, RIGHT],
        (1, 0): [UP, DOWN],
        (2, 0): [DOWN, LEFT, RIGHT],
        (0, -1): [RIGHT],
        (0, 1): [LEFT],
    }.items():
        seen = world.observe(task, torch.tensor([[[*place, 0.0]]]))[0, 0, :4]
        assert [way for way in range(4) if seen[way]] == ways
        for way in range(4):
            after = moved(world, task, [*map(float, place), 0.0], way, [0.5]).state[0, 0, :2].tolist()
            assert (after != list(place)) == (way in ways), f"way {way} from {place}"


def test_a_maze_with_four_ends_is_over_at_the_reward_only() -> None:
    world = IMaze(ends=4, length=2)
    for number, (row, side) in enumerate([(2, -1), (2, 1), (0, -1), (0, 1)]):
        for alcove in [(2, -1), (2, 1), (0, -1), (0, 1)]:
            step = moved(world, torch.tensor([number]), [alcove[0], 0.0, 0.0], RIGHT if alcove[1] > 0 else LEFT, [0.5])
            assert step.terminated.item() == (alcove == (row, side))
            assert step.reward.item() == pytest.approx((alcove == (row, side)) - 1 / 20)
    starts = [world.reset(torch.tensor([0]), torch.tensor([[[u]]]))[0][0, 0].tolist() for u in (0.1, 0.5, 0.9)]
    assert starts == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]


def test_a_pendulum_hangs_swings_and_hides_its_speed() -> None:
    world = Pendulum()
    down = moved(world, torch.tensor([1.0]), [math.pi, 0.0], [0.5], [0.5, 0.5])
    assert down.reward.item() == pytest.approx(-(math.pi**2) - 0.001)
    assert down.state[0, 0].tolist() == pytest.approx([math.pi + 0.05 * 0.15, 0.15], abs=1e-5), "3 x torque x 0.05 s"
    assert down.observation.shape[-1] == 2
    short = moved(world, torch.tensor([0.5]), [math.pi / 2, 0.0], [0.0], [0.5, 0.5])
    assert short.state[0, 0, 1].item() == pytest.approx(1.5), "3 g / (2 x 0.5) x 0.05 s"
    assert moved(world, torch.tensor([1.0]), [1.0, 7.9], [9.0], [0.5, 0.5]).state[0, 0, 1].item() == 8


def test_a_cart_pole_ends_where_it_falls() -> None:
    world, task = CartPole(), torch.tensor([0.5])
    push = moved(world, task, [0.0, 0.0, 0.0, 0.0], 1, [0.5] * 4)
    assert push.state[0, 0].tolist() == pytest.approx([0, 0.02 * 9.7561, 0, -0.02 * 14.6341], abs=1e-5)
    assert push.observation.tolist() == [[[0, 0]]]
    assert (push.reward.item(), push.terminated.item()) == (1, False)
    assert moved(world, task, [2.39, 1.0, 0.0, 0.0], 0, [0.5] * 4).terminated
    assert moved(world, task, [0.0, 0.0, -0.2, -1.0], 0, [0.5] * 4).terminated
    half = moved(CartPole(discrete=False), task, [0.0, 0.0, 0.0, 0.0], [0.5], [0.5] * 4)
    torch.testing.assert_close(half.state, push.state / 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Bandits(arms=0), "arms is 0: give 1 or more"),
        (lambda: TwoArms("simple"), "odds is 'simple': give one of independent, uniform, easy, medium, hard"),
        (lambda: TabularMDPs(states=0), "states is 0: give 1 or more"),
        (lambda: Navigation(horizon=0), "horizon is 0: give 1 or more"),
        (lambda: PointRobot("few"), "reward is 'few': give dense or sparse"),
        (lambda: IMaze(ends=3), "ends is 3: give 2 or 4"),
        (lambda: IMaze(length=20), "length 20, horizon 20: give a length of 1 or more, and a longer horizon"),
        (lambda: CartPole(lengths=(1.0, 0.5)), r"lengths is \(1.0, 0.5\): give two numbers above 0, the smaller first"),
    ],
)
def test_impossible_settings_of_a_world_are_refused(make: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()  # pyright: ignore


@pytest.mark.parametrize("length", [1.0, 0.7])
def test_the_pendulum_moves_as_gymnasiums(length: float) -> None:
    peer = gymnasium.make("Pendulum-v1").unwrapped
    peer.l = length
    peer.reset(seed=1)
    world, state = Pendulum(velocities=True), torch.tensor(peer.state)[None, None]
    for action in torch.linspace(-1.2, 1.2, 100).double():
        step = world.step(torch.tensor([length], dtype=torch.float64), state, action.reshape(1, 1, 1), state)
        seen, reward, *_ = peer.step([2 * action.item()])
        state = step.state
        torch.testing.assert_close(step.observation[0, 0].float(), torch.tensor(seen), atol=1e-6, rtol=1e-6)
        assert step.reward.item() == pytest.approx(float(reward), abs=1e-7)


@pytest.mark.parametrize("length", [0.5, 0.9])
def test_the_cart_pole_moves_as_gymnasiums(length: float) -> None:
    peer = gymnasium.make("CartPole-v1").unwrapped
    peer.length, peer.polemass_length = length, peer.masspole * length
    peer.reset(seed=2)
    world, state = CartPole(velocities=True), torch.tensor(peer.state, dtype=torch.float64)[None, None]
    steps, ended = 0, False
    while not ended:
        action, steps = int(steps % 3 > 0), steps + 1
        step = world.step(torch.tensor([length], dtype=torch.float64), state, torch.tensor([[action]]), state)
        seen, reward, ended, *_ = peer.step(action)
        state = step.state
        torch.testing.assert_close(step.observation[0, 0].float(), torch.tensor(seen), atol=1e-6, rtol=1e-6)
        assert (step.reward.item(), step.terminated.item()) == (reward, ended)
