"""MAML on decision processes: the meta-gradient against one worked out without sampling, and what it learns."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import InputError, MDPs, TimeStep, Trajectory, Transition, World, log_prob, uniform
from lightning_meta.core.distributed import mean_over_processes
from lightning_meta.envs import Bandits, RevealTask
from lightning_meta.nn.inner_loop import Weights
from lightning_meta.rl import MAML
from lightning_meta.rl.maml import Exploration
from lightning_meta.rl.parts.actor import FastPolicy

ALPHA = 0.7
REWARD = torch.tensor([[1.0, 0.0], [-2.0, 3.0]]).double()  # of state, action
CHOICES = list(itertools.product((0, 1), (0, 1)))  # two steps from state 0; the action taken is the state that follows
TIMES = [
    1,
    3,
    6,
    6,
]  # of 16, with probabilities 3/4 of action 1 in state 0, 1/2 in state 1: exactly as often as expected


def exact(**options: Any) -> MAML:
    """Build an agent whose estimates are those of the plain formula, with a logit per state and action, in float64."""
    plain = {"hidden": (), "inner_lr": ALPHA, "gamma": 1.0, "baseline": False, "standardise": False}
    agent = MAML(2, 2, True, **(plain | {"score_terms": "all"} | options)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        agent.actor.head.weight.copy_(torch.tensor([[1.0, 1.0], [3.0, 1.0]]).double().log())
        agent.actor.head.bias.zero_()
    return agent


def episodes(choices: list[tuple[int, int]], agent: MAML, weights: Weights | None = None) -> Trajectory:
    """Return the trajectory of one task with these actions, each in an env of its own, under these weights."""
    action = torch.tensor(choices).unsqueeze(0)
    state = torch.cat([torch.zeros_like(action[..., :1]), action[..., :1]], -1)
    observation = torch.eye(2)[state].double()
    policy = agent.policy(weights or agent.initial_weights(), 1)
    likely = log_prob(policy.at(observation), action).detach()
    reward, no = REWARD[state, action], torch.zeros_like(action, dtype=torch.bool)
    time_step = TimeStep(observation, observation, reward, reward)
    return Trajectory(time_step, action, likely, reward, observation, no, no, ~no)


def expected_return(weights: Weights) -> Tensor:
    """Return the expected return as a sum over all outcomes, without samples or scores."""
    chance = (weights["head.weight"].T + weights["head.bias"]).softmax(-1)  # of state, action
    return torch.stack([chance[0, a] * chance[a, b] * (REWARD[0, a] + REWARD[a, b]) for a, b in CHOICES]).sum()


def true_meta_gradient(agent: MAML) -> tuple[Tensor, ...]:
    """Return d/dtheta J(theta + alpha dJ/dtheta), with J the return per step."""
    theta = agent.initial_weights()
    slopes = torch.autograd.grad(expected_return(theta) / 2, list(theta.values()), create_graph=True)
    phi = {name: w + ALPHA * slope for (name, w), slope in zip(theta.items(), slopes, strict=True)}
    return torch.autograd.grad(expected_return(phi) / 2, list(theta.values()))


def estimated_meta_gradient(agent: MAML) -> tuple[Tensor, ...]:
    """Return the meta-gradient of the agent, in expectation over the trajectories of the adapted policy."""
    theta = agent.initial_weights()
    trajectory = episodes([c for c, n in zip(CHOICES, TIMES, strict=True) for _ in range(n)], agent)
    exploration: Exploration = [(trajectory, agent.advantages(trajectory))]
    phi = {name: w[0].detach() for name, w in agent.adapted(theta, exploration, 1).weights.items()}
    losses = []
    for choice in CHOICES:
        after = episodes([choice], agent, phi)
        acting = agent.adapted(theta, exploration, 1).at(after.time_steps.observation)
        losses.append(after.log_prob.sum().exp() * agent.outer_loss(acting, after, agent.advantages(after)).sum())
    return torch.autograd.grad(-torch.stack(losses).sum(), list(theta.values()))


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_the_expected_meta_gradient_is_the_derivative_of_the_adapted_return(outer: str) -> None:
    agent = exact(outer=outer)
    assert_close(estimated_meta_gradient(agent), true_meta_gradient(agent), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wrong", [{"score_terms": "none"}, {"score_terms": "step"}, {"first_order": True}])
def test_without_all_score_terms_it_is_another(wrong: dict[str, Any]) -> None:
    agent = exact(**wrong)
    apart = [
        (a - b).abs().max() for a, b in zip(estimated_meta_gradient(agent), true_meta_gradient(agent), strict=True)
    ]
    assert max(apart) > 1e-2


def test_first_order_is_the_gradient_at_phi() -> None:
    agent = exact(first_order=True)
    theta = agent.initial_weights()
    slopes = torch.autograd.grad(expected_return(theta) / 2, list(theta.values()))
    phi = {name: (w + ALPHA * g).detach().requires_grad_() for (name, w), g in zip(theta.items(), slopes, strict=True)}
    assert_close(estimated_meta_gradient(agent), torch.autograd.grad(expected_return(phi) / 2, list(phi.values())))


class Homing(World):
    """A point that moves at most a tenth per step, with minus its distance to a goal on the unit circle as the reward."""

    def __init__(self, horizon: int = 20):
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 2, 2, False, horizon, 0

    def task(self, seeds: Tensor) -> Tensor:
        angle = 2 * torch.pi * uniform(seeds, "goal")
        return torch.stack([angle.cos(), angle.sin()], -1)

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        place = torch.zeros(*u.shape[:2], 2)
        return place, place

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        place = state + 0.1 * action.clamp(-1, 1)
        far = (place - task.unsqueeze(1)).norm(dim=-1)
        return Transition(place, place, -far, far < 0.05)


def small(**options: Any) -> MAML:
    torch.manual_seed(0)
    return MAML(2, 2, False, **({"hidden": (16,), "envs": 8} | options))


def tasks(world: World, start: int, count: int) -> MDPs:
    seeds = torch.arange(start, start + count)
    return MDPs(world, seeds, seeds + 10**6)


class Outer:
    """Take steps of an optimiser down the gradient of a loss, averaged over processes."""

    def __init__(self, agent: MAML, lr: float = 0.01):
        self.theta = list(agent.parameters())
        self.optimizer = torch.optim.SGD(self.theta, 1.0) if agent.own_outer_step else torch.optim.Adam(self.theta, lr)

    def __call__(self, loss: Tensor) -> None:
        for w, gradient in zip(self.theta, torch.autograd.grad(loss, self.theta), strict=True):
            w.grad = mean_over_processes(gradient)
        self.optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_it_learns_to_adapt_in_one_inner_step(outer: str) -> None:
    agent = small(outer=outer)
    outer_step, others = Outer(agent, lr=0.02), tasks(Homing(), 10**5, 30)
    before = agent.eval().returns(others).mean(0)
    agent.train()
    for k in range(8):
        found = agent.learn(tasks(Homing(), 10 * k, 10), outer_step)
        assert found["steps"] > 2 * 10 * 8 * 10
        if outer == "trpo":
            assert 0 < found["kl"] <= 0.01
            assert found["gain"] > 0
    after = agent.eval().returns(others).mean(0)
    assert after.shape == (4,)
    assert before[1] < before[0] + 3, "an untrained one gains little"
    assert after[1] > before[1] + 3
    assert after[1] > after[0] + 4
    assert after[3] > after[1]


def test_it_learns_which_arm_pays_without_observations() -> None:
    torch.manual_seed(0)
    agent, world = MAML(0, 3, True, hidden=(8,), envs=10, inner_lr=0.5), Bandits(arms=3, horizon=10)
    outer_step, others = Outer(agent), tasks(world, 10**5, 50)
    for k in range(4):
        agent.learn(tasks(world, 10 * k, 10), outer_step)
    returns = agent.eval().returns(others).mean(0)
    assert returns[3] > returns[1] > returns[0] + 0.5


def test_adapting_is_the_same_in_any_batch_and_leaves_theta_unchanged() -> None:
    agent = small(test_updates=2).eval()
    theta = {name: w.clone() for name, w in agent.initial_weights().items()}
    both, alone = agent.adapt(tasks(Homing(), 3, 2)), agent.adapt(tasks(Homing(), 4, 1))
    assert isinstance(both, FastPolicy)
    assert isinstance(alone, FastPolicy)
    assert both.steps == 2
    for name, w in both.weights.items():
        assert_close(w[1:], alone.weights[name], rtol=1e-4, atol=1e-5)
        assert not w.requires_grad
        assert w[0].ne(w[1]).any()
        assert_close(agent.initial_weights()[name], theta[name], rtol=0, atol=0)


def test_the_inner_rate_is_halved_after_the_first_step() -> None:
    agent, mdps = small(), tasks(Homing(), 0, 1)
    trajectory, _ = mdps.rollout(agent.prior(mdps), 8)
    first = agent.update(agent.prior(mdps), trajectory)
    again = agent.update(replace(agent.prior(mdps), steps=1), trajectory)
    for name, w in agent.initial_weights().items():
        assert_close(first.weights[name] - w, 2 * (again.weights[name] - w), rtol=1e-3, atol=1e-6)


def learned(outer: str, start: int, count: int) -> Weights:
    agent = small(outer=outer, damping=0.1, envs=4).double()
    outer_step = Outer(agent)
    for k in range(2):
        agent.learn(tasks(Homing(horizon=5), start + 100 * k, count), outer_step)
    return {name: w.detach() for name, w in agent.initial_weights().items()}


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({outer: learned(outer, 2 * rank, 2) for outer in ("trpo", "ppo")}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_half_the_tasks_each_take_the_steps_of_one(tmp_path: Path) -> None:
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for outer in ("trpo", "ppo"):
        whole = learned(outer, 0, 4)
        assert_close(found[0][outer], whole, rtol=1e-7, atol=1e-8)
        assert_close(found[1][outer], found[0][outer], rtol=0, atol=0)
        half = learned(outer, 0, 2)
        assert max((half[name] - w).abs().max() for name, w in whole.items()) > 1e-4


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"updates": -1}, "0 or more"),
        ({"envs": 0}, "1 or more"),
        ({"inner_lr": 0.0}, "positive"),
        ({"max_kl": -0.1}, "positive"),
        ({"damping": 0.0}, "positive"),
        ({"cg_steps": 0}, "1 or more"),
        ({"gamma": 1.5}, r"in \[0, 1\]"),
        ({"score_terms": "some"}, "none, step or all"),
        ({"outer": "sgd"}, "trpo or ppo"),
        ({"hidden": (0,)}, "positive"),
        ({"std": 0.0}, "positive"),
    ],
)
def test_wrong_options_are_refused_with_the_legal_ones(wrong: dict[str, Any], legal: str) -> None:
    with pytest.raises(InputError, match=legal):
        small(**wrong)


@pytest.mark.parametrize(("told", "least", "most"), [(True, 0.6, 1.0), (False, 0.4, 0.58)], ids=["oracle", "blind"])
def test_a_policy_without_adaptation_does_well_if_the_task_is_revealed(told: bool, least: float, most: float) -> None:
    """One pull of two arms: the best return is 2 / 3 if both are known, and 1 / 2 if nothing is known."""
    torch.manual_seed(0)
    plain = Bandits(arms=2, horizon=1)
    world = RevealTask(plain) if told else plain
    agent = MAML(world.observations, 2, True, hidden=(16,), updates=0, test_updates=0, envs=4, max_kl=0.05)

    def step(loss: Tensor) -> None:
        theta = list(agent.parameters())
        with torch.no_grad():
            for w, g in zip(theta, torch.autograd.grad(loss, theta), strict=True):
                w -= g

    for first in range(0, 30 * 100, 100):
        seeds = torch.arange(first, first + 100)
        agent.learn(MDPs(world, seeds, seeds), step)
    seeds = torch.arange(10_000, 14_000)
    found = agent.eval().returns(MDPs(world, seeds, seeds))
    assert found.shape == (4000, 1)
    assert least < found.mean() < most
